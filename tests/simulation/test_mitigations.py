"""Whole runs under mitigations that need a model, on a tiny one: nothing at no dose, something at a dose, once made."""

import json
from pathlib import Path

import pytest
from helpers import config, simulate
from tiny import tiny_model

from hustings import perplexity, records, study
from hustings.errors import SettingsError
from hustings.records import Event, Reply
from hustings.settings import SimulateSettings, load

NOTHING = {
    "contrast": "treatments.contrast.dose=1",
    "rerank": "treatments.rerank.dose=1",
    "steer": "treatments.steer.dose=0",
}
"""The dose at which each does nothing."""
SHORT = (
    "treatments.steer.ask='{{ story }} {{ question }}'",
    "treatments.steer.held_out=1",
    "treatments.steer.personas=2",
    "treatments.steer.tokens=8",
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A run on a tiny model whose context has room for short stories."""
    folder = tmp_path_factory.mktemp("tiny")
    file = folder / "personas.jsonl"
    rows = [
        (party, name) for party, names in (("republican", ("Al", "Bo")), ("democrat", ("Cy", "Di"))) for name in names
    ]
    file.write_text("".join(
        json.dumps({"party": party, "name": name, "story": f"You are {name}, the people know."}) + "\n"
        for party, name in rows
    ))  # fmt: skip
    return (
        "model=hf", "model.source=local", f"model.path={tiny_model(folder / 'model')}", "model.id=null",
        "model.context=512", "engine=transformers", "engine.precision=exact", "engine.device=cpu",
        f"personas.file={file}", "topic=racism", "composition=rep_dem", "repetitions=1", "rounds=1", "shadow=false",
        "sampling.max_tokens=12", "alarm.empty=1", "alarm.invalid=1",
        "prompt.context='{{ story }}\\n{{ conversation }}'", "prompt.reply='Speak about {{ topic }}.'",
        "instrument.items.severity.wordings={any: ['How big?']}",
    )  # fmt: skip


def events(folder: Path) -> list[Event]:
    return [event for event in records.read(folder / "run" / "events.jsonl") if event.kind != "start"]


def replies(folder: Path) -> list[str]:
    return [event.text for event in events(folder) if isinstance(event, Reply)]


@pytest.fixture(scope="module")
def plain(words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    simulate(folder, *words)
    return folder


@pytest.mark.parametrize("name", NOTHING)
def test_a_dose_of_nothing_gives_the_log_of_no_mitigation(
    name: str, words: tuple[str, ...], plain: Path, tmp_path: Path
) -> None:
    simulate(tmp_path, *words, f"mitigation={name}", NOTHING[name])
    assert events(tmp_path) == events(plain)


@pytest.mark.parametrize("name", ["contrast", "rerank"])
def test_a_dose_changes_what_is_said(name: str, words: tuple[str, ...], plain: Path, tmp_path: Path) -> None:
    wide = ["treatments.rerank.dose=8", "treatments.rerank.margin=100"] if name == "rerank" else []
    simulate(tmp_path, *words, f"mitigation={name}", *wide)
    assert replies(tmp_path) != replies(plain)


def test_steering_vectors_are_made_once_and_their_layer_can_be_chosen(
    words: tuple[str, ...], plain: Path, tmp_path: Path
) -> None:
    steered = (*words, "mitigation=steer", *SHORT, "treatments.steer.dose=20")
    simulate(tmp_path, *steered)
    assert replies(tmp_path) != replies(plain)
    made = sorted((tmp_path / "artifacts" / "vectors").glob("*/manifest.json"))
    facts = [json.loads(path.read_text()) for path in made]
    assert [it["of"]["party"] for it in facts] == ["democrat", "republican"]
    for it in facts:
        assert (it["layers"], it["state"], {*it["gains"]}) == (2, "sealed", {str(it["layer"])})
        assert len(it["of"]["questions"]) == 14 and not any("racism" in text for text in it["of"]["questions"])
    times = [path.stat().st_mtime_ns for path in made]
    simulate(tmp_path, *steered, "treatments.steer.layer=1", "repetitions=2")
    assert [path.stat().st_mtime_ns for path in made] == times
    with pytest.raises(
        SettingsError, match=r"treatments.steer.layer=7: the model has 2 layers; choose one from 0 to 1"
    ):
        simulate(tmp_path, *steered, "treatments.steer.layer=7")


def test_too_few_questions_are_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"treatments.steer.questions: 14 of them are on topics .* 14 are held out"):
        simulate(tmp_path, *words, "mitigation=steer", *SHORT, "treatments.steer.held_out=14")


def test_replies_are_scored_once_for_their_perplexity(plain: Path, words: tuple[str, ...]) -> None:
    engine = load(SimulateSettings, config(*words)).engine
    path = perplexity.score(plain / "run", engine)
    lines = path.read_text().splitlines()
    found = study.load(plain / "run").perplexity
    assert len(found) == len(lines) == len([text for text in replies(plain) if text])
    assert (found["logprob"] < 0).all() and (found["tokens"] > 0).all()
    assert perplexity.score(plain / "run", engine).read_text().splitlines() == lines
