"""The entry points as users start them: what they print, how they fail, what they leave behind."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import CONF, cli, fresh_cli, hustings, left, log_of
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from hustings.cli import entry
from hustings.configuration import compose
from hustings.runfolder import EvaluationManifest, write_manifest

SMALL = ("engine=planted", "repetitions=1", "topic=racism")


REFUSED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("repetitons=3",): ("repetitons: there is no such setting; did you mean repetitions?",),
    ("sampling.temprature=1",): ("sampling.temprature: there is no such setting", "sampling.temperature?"),
    ("engine=planted", "engine.threads=3"): ("engine.threads: there is no such setting; there is", "engine.alpha"),
    ("foo=1",): ("foo: there is no such setting; see --help",),
    ("+foo=1",): ("foo: there is no such setting",),
    ("toppic=racism",): ("toppic: there is no such setting; did you mean topic?",),
    ("topic=racsm",): ("topic=racsm: there is no such option; did you mean racism?", "climate_change"),
    ("model=",): ("model=: there is no such option; there is", "smollm2"),
    ("repetitions=many",): ("repetitions='many': must be a whole number, such as 3",),
    ("repetitions=0",): ("repetitions=0: must be greater than or equal to 1",),
    ("rounds=-1",): ("rounds=-1: must be greater than or equal to 1",),
    ("engine=planted", "repetitions=41"): ("repetitions=41: party republican has 40 personas", "at most 40"),
    ("engine=planted", "composition.roles=[democrat,green]"): ("no party 'green'", "republican, democrat, default"),
    ("model=gguf", "model.path=nowhere.gguf"): ("nowhere.gguf", "No such file", "model.path"),
    ("model=gguf",): ("model.path: this setting has no value yet",),
    ("engine=planted", "artifacts=file"): ("file/debates", "cannot be written", "artifacts=…"),
    ("engine=planted", "artifacts=/proc/no"): ("/proc/no", "cannot be written"),
    ("engine=planted", "hydra.run.dir=file"): ("file: ", "choose a folder that can be written"),
    ("engine=planted", "personas.file=no.jsonl"): ("personas.file='no.jsonl': this file cannot be read",),
    ("engine=planted", "personas.file=file"): ("personas.file='file'", "there is no persona of democrat, republican"),
    ("engine=planted", "prompt.reply='{{ name'"): ("prompt.reply: this Jinja template does not compile",),
    ("engine=planted", "topic=[racism"): ("topic=[racism: this setting cannot be read (",),
    ("engine=planted", "topology=star"): ("topology=star: there is no such option; there is ring, round_robin.",),
    ("engine=planted", "topology.name=star"): ("topology.name=star: there is no such topology; there is round_robin",),
    ("engine=planted", "mitigation=remind"): ("mitigation=remind: there is no such option; did you mean reminder?",),
    ("engine=planted", "mitigation=reminder", "treatments.reminder.kind=magic"): ("kind='magic': must be one of",),
    ("engine=planted", "mitigation=reminder", "treatments.reminder.text='{{ name'"): (
        "treatments.reminder.text: this Jinja template does not compile",
    ),
    ("engine=planted", "instrument=likert"): ("instrument=likert: there is no such option; there is battery, paper.",),
    ("engine=planted", "instrument.items.severity.values=[0,1]"): ("one value for each of the 11 options, not 2",),
    ("engine=planted", "cast.republican.model=mistrall"): (
        "cast.republican: model=mistrall: there is no such option; did you mean mistral?",
    ),
    ("engine=planted", "cast.green.engine=planted"): ("cast.green: nobody of the role 'green' takes part",),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.items(), ids=[" ".join(arguments) for arguments in REFUSED])
def test_bad_input_is_one_paragraph_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    done, seconds = timed(tmp_path, *arguments)
    assert done.returncode == 2
    assert [phrase for phrase in words if phrase not in done.stderr] == []
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("\n")
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr
    assert done.stdout == ""
    assert left(tmp_path) == ["file"]
    assert seconds < 2


def test_a_file_of_the_user_that_is_not_yaml_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "tea.yaml").write_text("topics: {tea: [}\n")
    done = fresh_cli(tmp_path, "--config-dir", ".", "engine=planted", "topic=tea")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "tea.yaml, line 1, column 16: this file is not valid YAML" in done.stderr


def timed(cwd: Path, *arguments: str, within: float = 2) -> tuple["subprocess.CompletedProcess[str]", float]:
    """An entry point run to its end, and its seconds of processor time, which a busy machine hardly changes.

    A slower run is repeated up to twice: the fastest shows what the program needs.
    """
    taken: list[float] = []
    while not taken or (len(taken) < 3 and min(taken) >= within):
        began = processor_time()
        done = fresh_cli(cwd, *arguments)
        taken.append(processor_time() - began)
    return done, min(taken)


def processor_time() -> float:
    """Seconds of processor time of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which simulate.py has been run once."""
    folder = tmp_path_factory.mktemp("run")
    done = cli(folder, *SMALL)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def test_the_last_line_is_the_folder_of_the_run_with_all_that_it_should_hold(run: Path) -> None:
    first, *table, last = (run / "printed").read_text().splitlines()
    assert any(line.split()[:3] == ["racism", "republican", "1"] and "[" not in line for line in table)
    assert first.startswith("1 debates played in ")
    assert "9 replies" in first
    assert "0 invalid survey answers" in first
    folder = run / last.removeprefix("run: ")
    assert left(folder) == [
        "agents.csv",
        "attitudes.csv",
        "events.jsonl",
        "figures",
        "figures/.made.jsonl",
        "figures/curves.csv",
        "figures/curves.png",
        "figures/curves.svg",
        "figures/curves_score.csv",
        "figures/curves_score.png",
        "figures/curves_score.svg",
        "figures/forest.csv",
        "figures/forest.png",
        "figures/forest.svg",
        "figures/gaps.csv",
        "figures/gaps.png",
        "figures/gaps.svg",
        "manifest.json",
        "replies.csv",
        "report.html",
        "statistics.csv",
    ]
    assert (folder / "events.jsonl").read_bytes() == log_of(run / "artifacts").read_bytes()


def test_the_manifest_of_a_run_says_how_to_make_it_again(run: Path) -> None:
    folder = run / (run / "printed").read_text().splitlines()[-1].removeprefix("run: ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["command"] == ["simulate.py", *SMALL]
    assert manifest["settings"]["repetitions"] == 1
    assert manifest["debates"]["racism"] in log_of(run / "artifacts").parent.name
    assert {"hustings", "hydra-core"} <= set(manifest["versions"])


def test_a_finished_command_run_again_plays_nothing(run: Path) -> None:
    before = log_of(run / "artifacts").read_bytes()
    done = cli(run, *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all 1 debates were already in the store; 0 invalid survey answers\n")
    assert log_of(run / "artifacts").read_bytes() == before


def test_a_log_that_does_not_match_its_manifest_is_refused(tmp_path: Path) -> None:
    assert cli(tmp_path, *SMALL).returncode == 0
    log = log_of(tmp_path / "artifacts")
    log.write_text(log.read_text().replace("years", "weeks"))
    before = left(tmp_path)
    done = cli(tmp_path, *SMALL)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert f"{log.relative_to(tmp_path)}: this file was changed after it was sealed" in done.stderr
    assert left(tmp_path) == before


def test_help_shows_every_group_at_once(tmp_path: Path) -> None:
    done, seconds = timed(tmp_path, "--help", within=0.9)
    assert done.returncode == 0
    shown = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} - {"party"} <= shown
    assert left(tmp_path) == []
    assert seconds < 0.9


@pytest.mark.parametrize("script", ["simulate.py", "train.py"])
def test_help_is_what_hydra_would_print(tmp_path: Path, script: str) -> None:
    hydras = cli(tmp_path, "--help", "hydra.verbose=false", script=script)
    assert cli(tmp_path, "-h", script=script).stdout == hydras.stdout != ""


def test_a_report_draws_the_figures_again_from_disk(run: Path) -> None:
    folder = run / (run / "printed").read_text().splitlines()[-1].removeprefix("run: ")
    figures = folder / "figures"
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    for path in figures.iterdir():
        path.unlink()
    done = hustings("report", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(folder.name)
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before


def test_a_report_of_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = hustings("report", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{tmp_path}: this is not a run's folder" in done.stderr


def test_a_report_of_an_evaluation_makes_its_table_again(tmp_path: Path) -> None:
    evaluation = compose("topic=racism", job="evaluate").model_dump(mode="json")
    write_manifest(tmp_path, EvaluationManifest(command=["evaluate.py"], versions={}, settings=evaluation, results={},
                                                models={}, adapters=[], seconds=1.0, commit=None))  # fmt: skip
    (tmp_path / "scores.csv").write_text(
        "row,model,adapter,adapter_id,seed,benchmark,metric,score,stderr,n,low,high\n"
        "base,smollm2,,,,hellaswag,acc_norm,0.43,0.01,1000,,\n"
        "base,smollm2,,,,attitude/racism,score,6.5,0.2,40,0,10\n"
    )
    done = hustings("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "HellaSwag" in done.stdout and "43.0" in done.stdout
    assert {"table1.md", "table1.tex", "report.html"} <= {path.name for path in tmp_path.iterdir()}


def test_a_british_experiment_is_one_job_for_each_kind_of_group_and_takes_a_topic(tmp_path: Path) -> None:
    done = cli(tmp_path, "experiment=uk_echo", "engine=planted", "topic=wealth_tax", "repetitions=1", "rounds=1")
    assert done.returncode == 0, done.stderr
    runs = [tmp_path / line.removeprefix("run: ") for line in done.stdout.splitlines() if line.startswith("run: ")]
    *runs, sweep = runs
    assert [run.name for run in runs] == ["0", "1", "2"]
    assert sweep == runs[0].parent
    assert {"attitudes.csv", "statistics.csv", "comparison.csv", "manifest.json", "report.html"} <= {
        it.name for it in sweep.iterdir()
    }
    for run, kind in zip(runs, ("uk_mixed", "uk_echo_labour", "uk_echo_conservative"), strict=True):
        first = json.loads((run / "events.jsonl").read_text().splitlines()[0])
        assert first["debate"] == f"wealth_tax/{kind}/0000"
        assert [agent["speaks"] for agent in first["agents"]] == [True] * 4 + [False] * 2


def test_a_job_that_fails_in_a_sweep_is_reported_and_lets_the_others_run(tmp_path: Path) -> None:
    done = cli(tmp_path, "-m", "engine=planted", "topic=racism", "repetitions=41,1")
    assert done.returncode == 2
    assert "repetitions=41: party republican has 40 personas" in done.stderr
    assert "Traceback" not in done.stderr
    assert [line[-2:] for line in done.stdout.splitlines() if line.startswith("run: ")] == ["/1"]


def test_a_report_writes_every_statistic_with_a_sentence(run: Path) -> None:
    folder = run / (run / "printed").read_text().splitlines()[-1].removeprefix("run: ")
    shown = hustings("report", str(folder))
    assert shown.returncode == 0, shown.stderr
    with (folder / "statistics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {"closing", "party_gap", "drift", "echo", "crossing", "convergence", "model_pull", "social_pull", "anchor"}
    assert names <= {row["statistic"] for row in rows}
    assert all(row["sentence"] for row in rows)
    moved = next(row for row in rows if (row["statistic"], row["role"]) == ("closing", "republican"))
    assert moved["sentence"] in shown.stdout


def test_two_runs_are_compared_debate_by_debate(tmp_path: Path) -> None:
    small = ["engine=planted", "topic=racism", "repetitions=6", "rounds=2"]
    done = cli(tmp_path, "-m", *small, "engine.bias=3.0,8.0")
    assert (done.returncode, done.stderr) == (0, "loading planted on planted …\n" * 2)
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    with (sweep / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["run"], row["baseline"]) for row in rows} == {("bias 8.0", "bias 3.0")}
    (end,) = (row for row in rows if (row["statistic"], row["role"]) == ("end", "republican"))
    with (sweep / "attitudes.csv").open() as file:
        last = [row for row in csv.DictReader(file) if (row["role"], row["iteration"]) == ("republican", "6")]
    means = {run: [float(row["expected"]) for row in last if row["run"] == run] for run in ("bias 3.0", "bias 8.0")}
    assert float(end["estimate"]) == pytest.approx((sum(means["bias 8.0"]) - sum(means["bias 3.0"])) / 6)
    assert end["sentence"].startswith("Republican agents ended ")
    assert "higher on racism in bias 8.0 than in bias 3.0 (n = 6 pairs of debates" in end["sentence"]
    shown = hustings("report", str(sweep / "0"), str(sweep / "1"), "--output", str(tmp_path / "both"))
    assert shown.returncode == 0, shown.stderr
    assert end["sentence"] in shown.stdout
    assert (tmp_path / "both" / "figures" / "curves.csv").read_text().startswith('"run","topic",')


def test_a_comparison_is_made_again_from_its_folder_or_says_which_runs_are_gone(finished: Path, tmp_path: Path) -> None:
    runs = [tmp_path / sweep / "0" for sweep in ("one", "two")]
    for run in runs:
        shutil.copytree(finished / "run", run)
    both = tmp_path / "both"
    made = hustings("report", *map(str, runs), "--output", str(both))
    assert made.returncode == 0, made.stderr
    kept = (both / "comparison.csv").read_text()
    (both / "comparison.csv").unlink()
    again = hustings("report", str(both))
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert (both / "comparison.csv").read_text() == kept
    shutil.rmtree(tmp_path / "two")
    refused = hustings("report", str(both))
    assert refused.returncode != 0
    assert f"{both}: this is a comparison of several runs, and some are no longer where they were: " in refused.stderr
    assert f"with --output {both}." in refused.stderr and refused.stderr.count("\n") == 1


def test_a_sweep_over_topics_draws_each_job_by_itself(tmp_path: Path) -> None:
    three = "topic=racism,climate_change,gun_violence"
    done = cli(tmp_path, "-m", "engine=planted", "repetitions=2", "rounds=1", three)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    with (sweep / "attitudes.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"topic racism", "topic climate change",
                                                               "topic gun violence"}  # fmt: skip


def test_scores_and_single_debates_are_drawn_on_request(tmp_path: Path) -> None:
    wanted = ["analysis.outcome=score", "analysis.spaghetti=true"]
    done = cli(tmp_path, "engine=planted", "topic=racism", "repetitions=3", "rounds=1", *wanted)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    for name, whole in (("curves", True), ("curves_expected", False)):
        with (folder / "figures" / f"{name}.csv").open() as file:
            means = [float(row["mean"]) for row in csv.DictReader(file)]
        assert all(mean * 3 == pytest.approx(round(mean * 3)) for mean in means) == whole


def test_a_sweep_over_controls_ends_in_one_page_and_a_short_table(tmp_path: Path) -> None:
    four = "control=none,advocates_low,advocates_high,advocates_both"
    done = cli(tmp_path, "-m", "engine=planted", "topic=racism", "repetitions=2", "rounds=1", four)
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    table = done.stdout.rpartition("/3\n")[2]
    assert {"controls.csv", "comparison.csv", "report.html"} <= {it.name for it in sweep.iterdir()}
    assert (sweep / "figures" / "plane.png").exists()
    assert "Unwarranted drift U" in table and "racism   republican" in table
    assert '<section id="controls"' in (sweep / "report.html").read_text(encoding="utf-8")
    copy = tmp_path / "copy"
    sweep.rename(copy)
    (copy / "controls.csv").unlink()
    again = hustings("report", str(copy))
    assert again.returncode == 0, again.stderr
    assert "Unwarranted drift U" in again.stdout
    assert (copy / "controls.csv").exists()


def test_warnings_are_printed_in_one_line_each(tmp_path: Path) -> None:
    done = cli(tmp_path, "engine=planted", "topic=racism", "repetitions=3", "rounds=1", "engine.start_low=7")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("Warning: ")]
    assert any(line.startswith("Warning: Only ") and line.endswith("the personas did not take.") for line in lines)


def test_power_grows_with_the_number_of_repetitions() -> None:
    shown = hustings("power", "--points", "1", "--noise", "1.0")
    assert shown.returncode == 0, shown.stderr
    shares = [float(line.split()[2]) for line in shown.stdout.splitlines()[:-1]]
    assert shares == sorted(shares)
    assert shown.stdout.splitlines()[-1].endswith("repetitions are enough.")


def test_impossible_power_is_refused() -> None:
    shown = hustings("power", "--points", "5")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "--points 5: this must be at least 0 and less than the distance, 4.5.\n"


@pytest.mark.parametrize(
    ("words", "said"), [(("--power", "80"), "this is a probability"), (("--seed", "-1"), "a whole number from 0 on")]
)
def test_a_power_or_seed_that_cannot_be_is_refused(words: tuple[str, str], said: str) -> None:
    shown = hustings("power", *words)
    assert shown.returncode == 2 and said in shown.stderr and "Traceback" not in shown.stderr


def test_the_hustings_command_runs_a_job_and_a_sweep_like_the_script(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hustings", "simulate"]
    done = subprocess.run([*words, *SMALL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "loading planted on planted …\n")
    assert done.stdout.startswith("1 debates played in ")
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    assert json.loads((folder / "manifest.json").read_text())["command"] == ["-m", "hustings", "simulate", *SMALL]
    again = cli(tmp_path, *SMALL)
    assert again.stdout.startswith("all 1 debates were already in the store")
    sweep = subprocess.run(
        [*words, "-m", *SMALL, "rounds=1,2"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sweep.returncode == 0, sweep.stderr
    assert (tmp_path / sweep.stdout.splitlines()[-1].removeprefix("run: ") / "comparison.csv").exists()


@pytest.mark.parametrize("job", ["simulate", "train", "evaluate"])
def test_the_hustings_command_explains_its_jobs(job: str) -> None:
    assert "== Groups: choose one option of each" in hustings(job, "--help").stdout
    assert job in hustings("--help").stdout


def test_a_reader_that_stops_reading_causes_no_traceback(tmp_path: Path) -> None:
    for words in (["simulate", "--help"], ["doctor"], ["--help"]):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "hustings", *words]
        done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (done.returncode in (0, 1), done.stderr) == (True, "")


def first_answers(folder: Path, role: str) -> list[float]:
    """The attitudes of a role before anybody has spoken."""
    with (folder / "attitudes.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row["score"]) for row in rows if (row["role"], row["iteration"]) == (role, "0")]


def test_a_role_runs_on_an_engine_of_its_own(tmp_path: Path) -> None:
    cast = (
        "cast.republican.engine=planted",
        "cast.republican.overrides=['engine.start_low=0','engine.start_spread=0']",
    )
    done = cli(tmp_path, *SMALL, "repetitions=4", *cast)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    assert first_answers(folder, "republican") == [0.0] * 4
    assert min(first_answers(folder, "democrat")) > 5
    assert json.loads((folder / "manifest.json").read_text())["command"] == [
        "simulate.py", *SMALL, "repetitions=4", *cast
    ]  # fmt: skip
    plain = cli(tmp_path, *SMALL, "repetitions=4")
    assert plain.stdout.startswith("4 debates played"), "a cast changes the identity of the debates"


def test_what_a_role_runs_on_can_be_swept_over(tmp_path: Path) -> None:
    cast = ("cast.republican.engine=planted", "cast.republican.overrides=['engine.start_low=0'],['engine.start_low=4']")
    done = cli(tmp_path, "-m", *SMALL, "rounds=1", *cast)
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    low, high = (first_answers(sweep / job, "republican") for job in ("0", "1"))
    assert low < high


def test_a_config_is_composed_once_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[list[str]] = []
    load = ConfigLoaderImpl.load_configuration

    def counted(self: ConfigLoaderImpl, config_name: str, overrides: list[str], *rest: Any, **more: Any) -> Any:
        composed.append(overrides)
        return load(self, config_name, overrides, *rest, **more)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    monkeypatch.chdir(tmp_path)
    entry.main("simulate", [*SMALL, "dry_run=true"])
    assert len(composed) == 1
