"""What is shown while something takes long."""

import time

import pytest

from hustings import progress
from hustings.progress import Progress, showing


def test_a_line_comes_while_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_EVERY", 0.0)
    with showing("answers", 5, 0, 5):
        time.sleep(1.2)
    assert capsys.readouterr().err.startswith("answers 0/5")


def test_the_time_left_is_told_when_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Progress("answers", 500, 0, 500)
    monkeypatch.setattr(shown, "began", time.monotonic() - 100)
    shown.done = shown.answers = 24
    assert shown.text() == "answers 24/500 · 1 min 40 s so far"
    shown.done = shown.answers = 250
    assert shown.text() == "answers 250/500 · 1 min 40 s left"
