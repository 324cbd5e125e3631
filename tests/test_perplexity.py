"""Scores of replies are read only for the replies that they were made of; a damaged line costs only its own score."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Scripted, engine_settings, simulate

from hustings import perplexity, study
from hustings.engine.base import Likelihood, Request

WORDS = ("topic=racism", "rounds=1", "repetitions=2")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """A function that scores a run with a made-up number, the length of each text, and returns the texts it scored."""

    def score(folder: Path) -> list[str]:
        texts: list[str] = []

        def answer(request: Request) -> Likelihood:
            assert request.text is not None
            texts.append(request.text.strip())
            return Likelihood(-float(len(texts[-1])), 5, 9)

        with monkeypatch.context() as patched:
            patched.setattr("hustings.engine.build", lambda *_: Scripted(answer))
            patched.setattr("hustings.models.resolve", lambda _: None)
            perplexity.score(folder, engine_settings("transformers"))
        return texts

    return score


def lengths(made: study.Study) -> list[float]:
    """The log-probability of each reply, if each has the score of its own text."""
    table = made.replies.merge(made.perplexity, on=[*study.KEY], suffixes=("", "_scored"))
    assert (table["logprob"] == -table["text"].str.len()).all()
    return table["logprob"].tolist()


def test_scores_are_never_read_for_other_replies(
    tmp_path: Path, scored: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate(tmp_path, *WORDS).folder
    assert len(scored(folder)) == len(lengths(study.load(folder))) == 6
    simulate(tmp_path, *WORDS, "seed=7")
    assert lengths(study.load(folder)) == []
    assert "6 of 6 lines in" in capsys.readouterr().err
    assert len(scored(folder)) == 6
    assert len(lengths(study.load(folder))) == len((folder / "perplexity.jsonl").read_text().splitlines()) == 6
    simulate(tmp_path, *WORDS[:2], "repetitions=3", "seed=7")
    assert len(scored(folder)) == 3 and len(lengths(study.load(folder))) == 9


@pytest.mark.parametrize("damage", [b"no JSON\n", b"\xff\xfe\n", b"[1]\n", b'{"topic": ["racism"]}\n'])
def test_a_damaged_line_is_left_out_and_scored_again(
    tmp_path: Path, scored: Callable[[Path], list[str]], damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = simulate(tmp_path, *WORDS).folder
    scored(folder)
    path = folder / "perplexity.jsonl"
    first, second, *others = whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([damage, second.replace(b'"tokens": 5', b'"tokens": 6'), *others]))
    assert len(lengths(study.load(folder))) == 4
    said = capsys.readouterr().err
    assert f"2 of 6 lines in {path} are damaged" in said and "hustings perplexity" in said
    assert len(scored(folder)) == 2
    assert path.read_bytes().splitlines(keepends=True) == [*others, first, second] and len(whole) == 6
