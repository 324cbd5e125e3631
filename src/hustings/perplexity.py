"""How surprising replies are to the model itself without a persona: did a mitigation damage its language?

Each reply is scored as something that the Default might say first in a debate on the topic. The scores are kept in the
run's folder, one line for each reply, so that no reply is scored twice.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hustings import engine, models
from hustings.debate.play import Rules
from hustings.engine.base import Likelihood, Order, Request, Sampling, Turn
from hustings.errors import SettingsError
from hustings.files import JsonLines, write_atomically
from hustings.progress import showing
from hustings.records import Agent
from hustings.runfolder import PERPLEXITY
from hustings.settings import DEFAULT, EngineSettings, SimulateSettings
from hustings.settings import load as validated
from hustings.study import KEY, Study, load


def score(folder: Path, scorer: EngineSettings) -> Path:
    """Score the unscored replies of a run, with the model that it ran on and without an adapter.

    Args:
        folder: the run folder.
        scorer: an engine with the capability `text scores`.

    Returns:
        The path of the file: JSON lines as `Study.score_line` writes them. Damaged lines, and lines that score replies
        that the run no longer has, are removed.

    Raises:
        RecordError: the folder is not a run folder.
        SettingsError: the engine cannot score texts.
        ModelError: the model cannot be loaded.
    """
    if "text scores" not in scorer.can:
        raise SettingsError(f"engine={scorer.kind}: it cannot score texts; set engine=transformers.")
    study = load(folder)
    settings = validated(SimulateSettings, dict(study.design))
    path = folder / PERPLEXITY
    scores = [*study.perplexity.itertuples(index=False, name=None)]
    kept = "".join(study.score_line(score[: len(KEY)], *score[len(KEY) :]) + "\n" for score in scores)
    if path.exists() and path.read_bytes() != kept.encode():
        write_atomically(path, kept)
    known = {score[: len(KEY)] for score in scores}
    places = {request: key for request, key in _requests(study, settings) if key not in known}
    if not places:
        return path
    log = JsonLines(path)
    order = Order(settings.model, models.resolve(settings.model))
    with engine.build(scorer, order) as built, showing("replies", len(places), 0, len(places)) as progress:
        for request, answer in built.stream(deque(places)):
            assert isinstance(answer, Likelihood)
            log.append(study.score_line(places[request], round(answer.logprob, 4), answer.length))
            progress.done += 1
            progress.answers += 1
            progress.show()
    log.close()
    return path


def _requests(study: Study, settings: SimulateSettings) -> Iterator[tuple[Request, tuple[Any, ...]]]:
    """The request that scores each reply, and the key of the reply."""
    rules, society = Rules.of(settings), settings.society
    agent = Agent(role=DEFAULT, persona=DEFAULT, name=society.default.names[0], story=society.default.story)
    for row in study.replies.to_dict("records"):
        if not isinstance(row["text"], str) or not row["text"]:
            continue
        topic = settings.control.topic or settings.topics[row["topic"]]
        instruction, start = rules.prompts.reply(agent, topic)
        prompt = f"{rules.prompts.context(agent, agent.story, topic, [])}\n\n{instruction}"
        key = tuple(row[name] for name in KEY)
        turn = Turn("/".join(map(str, key)), row["agent"], DEFAULT, 0, "answer", agent.name)
        text = f" {row['text']}" if start else row["text"]
        yield Request(prompt, 0, Sampling(0.0, 1), turn, start, text=text), key
