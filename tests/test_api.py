"""Hustings from Python: the public names, the examples in docstrings, and a script as a user writes it."""

import doctest
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

import hustings
from hustings import api, errors, study

NAMES = {
    "AdapterError",
    "AlarmError",
    "ArtifactError",
    "BenchmarkError",
    "BusyError",
    "DataError",
    "EngineError",
    "HustingsError",
    "ModelError",
    "PersonaError",
    "RecordError",
    "SettingsError",
    "Study",
    "SweepError",
    "TrainingError",
    "__version__",
    "compare",
    "compose",
    "evaluate",
    "load",
    "simulate",
    "train",
}
SMALL = ("engine=planted", "topic=racism", "rounds=1")


def test_the_public_names_are_pinned() -> None:
    assert {*hustings.__all__} == NAMES
    assert {*dir(hustings)} >= NAMES
    assert all(getattr(hustings, name) is not None for name in NAMES)


def test_every_error_of_the_tree_is_public() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree == {name for name in NAMES if name.endswith("Error")}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hustings' has no attribute 'simulated'"):
        hustings.simulated  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.process_time(); import hustings; taken = time.process_time() - began; "
        "assert not {'numpy', 'pandas', 'pydantic', 'hydra', 'torch', 'matplotlib'} & {*sys.modules}; print(taken)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize("module", [hustings, api, study, hustings.configuration])
def test_the_examples_in_docstrings_run(module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert (tried.failed, tried.attempted > 0) == (0, True)


def test_ten_lines_of_python_play_read_and_plot_debates(tmp_path: Path) -> None:
    script = """
        import matplotlib
        matplotlib.use("Agg")
        import hustings

        played = hustings.simulate(hustings.compose("engine=planted", "topic=racism", "repetitions=3"))
        study = hustings.load(played.folder)
        curves = study.answers.groupby(["iteration", "role"])["value"].mean().unstack()
        axes = curves.plot(ylim=study.scale, ylabel="attitude")
        axes.figure.savefig("curves.png")
        print(study.folder)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").stat().st_size > 0
    folder = tmp_path / done.stdout.strip()
    assert folder.parents[1] == tmp_path / "outputs"
    assert {"manifest.json", "statistics.csv", "report.html", "figures"} <= {path.name for path in folder.iterdir()}
    assert hustings.load(folder).manifest.command == ["script.py"]


def test_a_run_from_python_leaves_what_the_command_line_leaves(tmp_path: Path) -> None:
    made = hustings.simulate(
        hustings.compose(*SMALL, "repetitions=2", f"artifacts={tmp_path / 'artifacts'}"), tmp_path / "run"
    )
    assert made.folder == tmp_path / "run"
    assert made.statistics is not None and len(made.statistics) > 0
    assert made.attitudes.equals(hustings.load(tmp_path / "run").attitudes)


def test_studies_are_compared_with_the_first_with_and_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    studies = [hustings.simulate(hustings.compose(*SMALL, "repetitions=6", f"engine.bias={b}")) for b in (8.0, 3.0)]
    before = sorted(path.name for path in tmp_path.iterdir())
    table = hustings.compare(studies)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert ({*table["run"]}, {*table["baseline"]}) == ({"bias 3.0"}, {"bias 8.0"})
    pd.testing.assert_frame_equal(hustings.compare(studies, tmp_path / "both"), table)
    assert {"comparison.csv", "report.html"} <= {path.name for path in (tmp_path / "both").iterdir()}
    scores = [study.analysed_as("score") for study in studies]
    assert not hustings.compare(scores)["estimate"].equals(table["estimate"])


def test_what_only_the_command_line_can_do_is_refused() -> None:
    with pytest.raises(hustings.SettingsError, match="dry_run=True: only the command line"):
        hustings.simulate(hustings.compose("engine=planted", "dry_run=true"))
    with pytest.raises(hustings.SettingsError, match=r"trainer\.devices=2"):
        hustings.simulate(hustings.compose("engine=planted", "trainer.devices=2"))
    with pytest.raises(hustings.SettingsError, match="at least two"):
        hustings.compare([])
