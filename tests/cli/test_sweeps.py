"""Sweeps side by side, through submitit and on Ray; and what happens when a job fails."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers import ROOT, cli, start_cli
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hustings.errors import SweepError
from hustings.sweeps import Failure, SweepEnd, _Tolerant, again, summary

SMALL = ("engine=planted", "rounds=1")


def finished(sweep: Path) -> list[str]:
    return sorted(path.parent.name for path in sweep.glob("*/manifest.json") if path.parent != sweep)


def sweep_of(done: "subprocess.CompletedProcess[str]", folder: Path) -> Path:
    return folder / done.stdout.splitlines()[-1].removeprefix("run: ")


def test_four_jobs_side_by_side_end_in_one_comparison_and_share_personas_that_one_of_them_makes(tmp_path: Path) -> None:
    topics = "topic=racism,climate_change,gun_violence,illegal_immigration"
    done = cli(tmp_path, "-m", "cluster=joblib", *SMALL, "repetitions=3", topics)
    assert done.returncode == 0, done.stderr
    sweep = sweep_of(done, tmp_path)
    assert finished(sweep) == ["0", "1", "2", "3"]
    assert (sweep / "comparison.csv").exists()
    files = sorted((tmp_path / "artifacts" / "personas").glob("*/personas.jsonl"))
    assert len(files) == 2
    for file in files:
        assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == list(dict.fromkeys(
            json.loads(line)["name"] for line in file.read_text().splitlines()))  # fmt: skip
        assert len(file.read_text().splitlines()) == 3


def test_a_job_waits_for_personas_that_another_process_is_making(tmp_path: Path) -> None:
    assert cli(tmp_path, *SMALL, "repetitions=1", "topic=racism").returncode == 0
    (democrats,) = (tmp_path / "artifacts" / "personas").glob("*-democrat-*")

    with FileLock(democrats / ".lock"):
        waiting = start_cli(tmp_path, "-m", "cluster=joblib", *SMALL, "repetitions=2", "topic=racism,climate_change")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.communicate(timeout=8)
        assert len((democrats / "personas.jsonl").read_text().splitlines()) == 1
    _, errors = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, errors
    assert len((democrats / "personas.jsonl").read_text().splitlines()) == 2


def test_failing_jobs_let_the_others_run_and_the_printed_command_runs_only_the_failed_ones(tmp_path: Path) -> None:
    wanted = ("-m", *SMALL, "topic=racism", "repetitions=41,1,42")
    done = cli(tmp_path, *wanted)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert finished(next((tmp_path / "multirun").glob("*/*"))) == ["1"]
    lines = done.stderr.splitlines()
    assert "2 of the sweep's jobs failed:" in lines
    assert "  job 0 (repetitions=41)" in lines and "  job 2 (repetitions=42)" in lines
    assert any("repetitions=41: party republican has 40 personas" in line for line in lines)
    command = f"  python {ROOT / 'simulate.py'} -m engine=planted rounds=1 topic=racism repetitions=41,42"
    assert lines[-1] == command


def test_a_bug_after_all_jobs_have_ended_is_an_error_with_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def together(self: SweepEnd, folder: Path) -> bool:
        raise KeyError("no such column")

    monkeypatch.setattr(SweepEnd, "together", together)
    with pytest.raises(SystemExit) as ended:
        SweepEnd().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert ended.value.code
    assert "no such column" in capsys.readouterr().err
    assert "no such column" in (tmp_path / "error.txt").read_text()


def test_the_printed_command_starts_the_sweep_as_it_was_started(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "topic"
    own.mkdir(parents=True)
    (own / "own.yaml").write_text((ROOT / "conf" / "topic" / "racism.yaml").read_text())
    cast = (
        "cast.republican.engine=planted",
        "cast.republican.overrides=['engine.start_low=11'],['engine.start_low=1']",
    )
    words = ["-m", "hustings", "simulate", "-m", "--config-dir", "mine", *SMALL, "topic=own", "repetitions=1", *cast]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "  python -m hustings simulate --config-dir mine -m engine=planted rounds=1 topic=own repetitions=1 "
        """cast.republican.engine=planted 'cast.republican.overrides=['"'"'engine.start_low=11'"'"']'"""
    )
    assert finished(next((tmp_path / "multirun").glob("*/*"))) == ["1"]


def test_submitits_local_executor_runs_a_sweep_of_two(tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", "hydra/launcher=submitit_local", *SMALL, "repetitions=1", "topic=racism,gun_violence")
    assert done.returncode == 0, done.stderr
    assert finished(sweep_of(done, tmp_path)) == ["0", "1"]


def test_a_local_ray_runs_a_sweep_of_two(tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", "cluster=ray", *SMALL, "repetitions=1", "topic=racism,gun_violence")
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun").glob("*/*")
    assert finished(sweep) == ["0", "1"]
    assert (sweep / "comparison.csv").exists()


def test_slurm_that_is_not_there_is_one_paragraph(tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", "cluster=slurm", *SMALL, "topic=racism,gun_violence")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "the launcher could not start the jobs" in done.stderr and "cluster=local" in done.stderr


@pytest.mark.parametrize(
    ("cluster", "plugin"),
    [("slurm", "hydra_submitit_launcher"), ("ray", "hydra_ray_launcher"), ("joblib", "hydra_joblib_launcher")],
)
def test_an_extra_that_is_not_installed_is_named_with_the_command_that_installs_it(
    tmp_path: Path, cluster: str, plugin: str
) -> None:
    code = (
        f"import runpy, sys; sys.modules['hydra_plugins.{plugin}'] = None; "
        f"sys.argv = [{str(ROOT / 'simulate.py')!r}, '-m', 'cluster={cluster}', 'engine=planted', 'topic=racism,all']; "
        f"runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"cluster={cluster}: ")
    assert f"pip install 'hustings[{cluster}]'" in done.stderr


class Dying(Launcher):
    """A launcher whose second job's process dies, which makes joblib, submitit and Ray give up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, **_: Any) -> None:
        """Nothing to do."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        for number in range(2):
            (self.folder / str(number)).mkdir()
        (self.folder / "0" / "manifest.json").write_text("{}")
        raise RuntimeError("A worker process managed by the executor was unexpectedly terminated.")


def test_a_killed_job_is_distinguished_from_finished_ones(tmp_path: Path) -> None:
    failures: list[Failure] = []
    jobs = [["seed=1"], ["seed=2"], ["seed=3"]]
    returns = _Tolerant(Dying(tmp_path), tmp_path, failures).launch(jobs, 0)
    assert [job.status for job in returns] == [JobStatus.COMPLETED] * 3
    assert [failure.number for failure in failures] == [1, 2]
    of_hydra = ["hydra.job.name=simulate", "hydra.launcher.n_jobs=2", "hydra.mode=MULTIRUN"]
    text = summary(failures, ["python", "simulate.py"], of_hydra)
    assert "its process did not answer (A worker process managed by" in text
    assert text.endswith("  python simulate.py -m seed=2,3 hydra.launcher.n_jobs=2")


def test_a_launcher_that_starts_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"could not start the jobs"):
        _Tolerant(Dying(tmp_path / "no"), tmp_path, []).launch([["seed=1"]], 0)


def test_jobs_that_are_not_a_product_are_run_again_one_by_one() -> None:
    assert again([["a=1", "b=1"], ["a=2", "b=2"]]) == [["a=1", "b=1"], ["a=2", "b=2"]]
    assert again([["a=1", "b=1"], ["a=2", "b=1"]]) == [["a=1,2", "b=1"]]
    assert again([["a=1", "b=[x,y]"]]) == [["a=1", "b=[x,y]"]]
