"""Steering vectors: how hidden states differ between a party's answers and the Default's to the same questions.

They are kept in the artifact store, identified by everything that changes them: model, stories, questions, seed.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.artifacts import Place, locked
from hustings.engine.base import Completion, Likelihood, Request, Sampling, Steering, Turn
from hustings.engine.lazy import LazyEngine
from hustings.errors import EngineError, SettingsError
from hustings.identity import seed_of
from hustings.progress import say
from hustings.settings import DEFAULT
from hustings.simulation.counts import Counts
from hustings.simulation.plan import Plan
from hustings.simulation.stories import people
from hustings.template import Template

if TYPE_CHECKING:
    from hustings.debate.treatments.steer import SteerSettings
    from hustings.engine.transformers import TransformersEngine

FILE = "vectors.safetensors"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What somebody answered, and what they were asked."""

    prompt: str
    question: int
    text: str


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes what the treatments of a run need."""

    plan: Plan

    def vectors(self, settings: "SteerSettings", roles: Collection[str] | None) -> dict[str, tuple[Path, int]]:
        """See `of`."""
        return of(self.plan, settings, roles)


def of(plan: Plan, settings: "SteerSettings", roles: Collection[str] | None) -> dict[str, tuple[Path, int]]:
    """For each steered party of a run, the file with its vectors and the layer at which it is steered.

    Raises:
        SettingsError: there are too few questions on topics that are not debated, or no such layer.
        EngineError: several processes play the run.
    """
    if plan.settings.trainer.ranks > 1:
        raise EngineError("mitigation=steer: steered debates are played by one process; set trainer.devices=1.")
    found: dict[str, tuple[Path, int]] = {}
    for party in (party for party in plan.parties if roles is None or party in roles):
        asked = _questions(plan, settings, party)
        with locked(_place(plan, settings, party, asked), wait=True) as artifact:
            if artifact.growing:
                artifact.grow(**_made(plan, settings, party, asked, artifact.folder / FILE))
                artifact.seal()
        layers: int = artifact.manifest["layers"]
        layer = artifact.manifest["layer"] if settings.layer is None else settings.layer
        if layer >= layers:
            raise SettingsError(
                f"treatments.steer.layer={layer}: the model has {layers} layers; choose one from 0 to {layers - 1}, or "
                "null for the one that fits best."
            )
        found[party] = artifact.folder / FILE, layer
    return found


def _questions(plan: Plan, settings: "SteerSettings", party: str) -> list[str]:
    """The questions on topics that are not debated."""
    asked = [text for topic, texts in settings.questions.items() if topic not in plan.settings.topics for text in texts]
    if len(asked) <= settings.held_out:
        raise SettingsError(
            f"treatments.steer.questions: {len(asked)} of them are on topics that this run does not debate, and "
            f"{settings.held_out} are held out to choose the layer, so none is left for the vector of {party}; add "
            "questions on other topics."
        )
    return asked


def _place(plan: Plan, settings: "SteerSettings", party: str, asked: Sequence[str]) -> Place:
    seat, run = plan.casting.of(party), plan.settings
    substance: dict[str, Any] = {
        **seat.substance(),
        "party": party,
        "personas": [plan.personas(party).id, settings.personas, run.personas.file],
        "default": run.society.default.story,
        "questions": [*asked],
        "held_out": settings.held_out,
        "ask": settings.ask,
        "tokens": settings.tokens,
        "seed": run.seed,
    }
    return Place(plan.store, "vectors", f"{seat.weights.name}-{party}", substance)


def _made(plan: Plan, settings: "SteerSettings", party: str, asked: Sequence[str], file: Path) -> dict[str, Any]:
    """Make the vectors of a party; returns facts for the manifest."""
    from safetensors.torch import save_file

    engine = _engine(plan, party)
    known = people(plan, {party: {*range(settings.personas)}}, Counts())[party]
    stories = [known[index].story for index in sorted(known)[: settings.personas]]
    say(f"steering vectors of {party}: {len(stories)} personas and the Default answer {len(asked)} questions")
    ask = Template(settings.ask, "treatments.steer.ask", "conf/mitigation/steer.yaml")
    default = [plan.settings.society.default.story] * len(stories)
    mine = _answers(engine, plan, settings, [_prompts(ask, story, asked) for story in stories], party)
    theirs = _answers(engine, plan, settings, [_prompts(ask, story, asked) for story in default], DEFAULT)
    learnt = len(asked) - settings.held_out
    means = [
        engine.hidden([(it.prompt, it.text) for it in answers if it.question < learnt]) for answers in (mine, theirs)
    ]
    difference = means[0] - means[1]
    save_file({f"layer.{layer}": difference[layer].contiguous() for layer in range(len(difference))}, file)
    gains = _gains(engine, [it for it in mine if it.question >= learnt], [it for it in theirs if it.question >= learnt],
                   file, len(difference), _prompts(ask, default[0], asked))  # fmt: skip
    best = max(gains, key=lambda layer: gains[layer])
    return {
        "layers": len(difference),
        "layer": best,
        "gains": {str(layer): round(it, 6) for layer, it in gains.items()},
    }


def _engine(plan: Plan, party: str) -> "TransformersEngine":
    """The engine of a party, loaded; the settings ensure that it can be steered."""
    engine = plan.casting.engine_of(party)
    assert isinstance(engine, LazyEngine)
    loaded: Any = engine.load()
    return loaded


def _prompts(ask: Template, story: str, asked: Sequence[str]) -> list[str]:
    return [ask.render(story=story, question=question) for question in asked]


def _answers(
    engine: "TransformersEngine", plan: Plan, settings: "SteerSettings", prompts: Sequence[Sequence[str]], role: str
) -> list[_Answer]:
    """Everybody's answer to every question; empty ones are left out.

    Args:
        prompts: grouped by who is asked, then by question.
    """
    requests: dict[Request, tuple[str, int]] = {}
    for who, each in enumerate(prompts):
        for number, prompt in enumerate(each):
            turn = Turn(f"vectors/{role}/{who:02d}", who, role, number, "answer", role)
            seed = seed_of(plan.settings.seed, "vectors", role, who, number)
            requests[Request(prompt, seed, Sampling(1.0, settings.tokens), turn)] = prompt, number
    found = {
        request: answer.text.strip()
        for request, answer in engine.stream(deque(requests))
        if isinstance(answer, Completion) and answer.text.strip()
    }
    return [_Answer(*requests[request], found[request]) for request in requests if request in found]


def _gains(
    engine: "TransformersEngine",
    mine: Sequence[_Answer],
    theirs: Sequence[_Answer],
    file: Path,
    layers: int,
    asked: Sequence[str],
) -> dict[int, float]:
    """How much more probable steering makes the party's held-out answers than the Default's, nats per token, by layer.

    Every second layer from a quarter to three quarters of the model's depth is tried, at strength 1 and in the
    Default's context.

    Args:
        asked: the Default's prompts, by question.
    """  # fmt: skip
    tried = [*range(layers // 4, max(layers // 4 + 1, 3 * layers // 4), 2)]
    requests: dict[Request, tuple[int, int]] = {}
    for layer in tried:
        for way, answers in ((1, mine), (-1, theirs)):
            for place, answer in enumerate(answers):
                turn = Turn(f"vectors/{layer:02d}", place, "gain", way, "answer", "nobody")
                steering = Steering(file, layer, 1.0)
                prompt = asked[answer.question]
                request = Request(prompt, 0, Sampling(0.0, 1), turn, text=answer.text, steering=steering)
                requests[request] = layer, way
    sums: Mapping[tuple[int, int], list[float]] = {(layer, way): [] for layer in tried for way in (1, -1)}
    for request, answer in engine.stream(deque(requests)):
        assert isinstance(answer, Likelihood)
        sums[requests[request]].append(answer.logprob / max(1, answer.length))
    return {
        layer: sum(way * sum(sums[layer, way]) / max(1, len(sums[layer, way])) for way in (1, -1)) for layer in tried
    }
