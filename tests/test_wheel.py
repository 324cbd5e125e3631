"""The wheel alone, as `pip install` unpacks it: the same jobs, with its own configs and with the user's."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import CONF, ROOT


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs; dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(unpacked: Path, cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Python in the folder `cwd`, where `hustings` is the wheel's and not that of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_wheel_has_every_config_of_the_checkout_and_they_are_the_ones_used(unpacked: Path, tmp_path: Path) -> None:
    shipped = unpacked / "hustings" / "conf"
    files = {path.relative_to(CONF): path.read_bytes() for path in CONF.rglob("*.yaml")}
    assert {path.relative_to(shipped): path.read_bytes() for path in shipped.rglob("*.yaml")} == files
    code = "import hustings, hustings.configuration as c; print(hustings.__file__); print(c.conf_folder())"
    done = python(unpacked, tmp_path, "-c", code)
    assert done.stdout.splitlines() == [str(unpacked / "hustings" / "__init__.py"), str(shipped)]


def test_a_first_run_works_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    done = python(unpacked, tmp_path, "-m", "hustings", "simulate", "engine=planted", "repetitions=2", "topic=racism")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 debates played in ")
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    assert (folder / "report.html").exists()
    assert json.loads((folder / "manifest.json").read_text())["command"] == [
        "-m", "hustings", "simulate", "engine=planted", "repetitions=2", "topic=racism"
    ]  # fmt: skip


def test_users_have_topics_in_a_folder_of_their_own(unpacked: Path, tmp_path: Path) -> None:
    party = "society.parties"
    (tmp_path / "mine" / "topic").mkdir(parents=True)
    (tmp_path / "mine" / "topic" / "vaccines.yaml").write_text(
        "# @package topics.vaccines\n"
        "label: vaccines\n"
        "question: How safe do you think vaccines are?\n"
        "low: not safe at all\n"
        "high: very safe\n"
    )
    stances = [
        f"++{party}.{role}.stances.vaccines={{pole:{pole},position:vaccines are {words}}}"
        for role, pole, words in (("republican", "low", "not safe at all"), ("democrat", "high", "very safe"))
    ]
    command = ["-m", "hustings", "simulate", "--config-dir", "mine", "engine=planted", "topic=vaccines", "rounds=1"]
    done = python(unpacked, tmp_path, *command, "repetitions=1", *stances)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest["settings"]["topics"]) == ["vaccines"]
    assert manifest["command"][:5] == ["-m", "hustings", "simulate", "--config-dir", "mine"]


@pytest.mark.parametrize("job", ["simulate", "train", "evaluate"])
def test_every_job_explains_itself_and_prints_its_config(unpacked: Path, tmp_path: Path, job: str) -> None:
    assert "== Groups: " in python(unpacked, tmp_path, "-m", "hustings", job, "--help").stdout
    assert "kind: openvino" in python(unpacked, tmp_path, "-m", "hustings", job, "--cfg", "job").stdout
    refused = python(unpacked, tmp_path, "-m", "hustings", job, "model=mistrall")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "model=mistrall: there is no such option; did you mean mistral?" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_recommends_the_command_that_is_installed(unpacked: Path, tmp_path: Path) -> None:
    assert "best here: hustings simulate model=" in python(unpacked, tmp_path, "-m", "hustings", "doctor").stdout
