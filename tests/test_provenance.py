"""Of what commit a run says that it was made."""

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT

from hustings import provenance


def test_the_commit_is_that_of_our_own_checkout_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (
        ["init", "--quiet"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.chdir(tmp_path)
    theirs = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert len(theirs) == 40
    assert provenance.commit() != theirs
    assert (provenance.commit() is not None) == ((ROOT / ".git").exists())


def test_a_wheel_in_another_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    installed = tmp_path / "site-packages" / "hustings"
    installed.mkdir(parents=True)
    shutil.copy(provenance.__file__, installed)
    monkeypatch.setattr(provenance, "__file__", str(installed / "provenance.py"))
    assert provenance.commit() is None
