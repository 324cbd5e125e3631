"""Estimates how long a run will take here, from the speed of earlier runs of its model or of ten seconds of it now."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from hustings.artifacts import artifacts
from hustings.debate.estimate import Counter, Estimate
from hustings.debate.play import Listener, Rules, play
from hustings.engine.base import Request
from hustings.progress import duration, say
from hustings.records import Start
from hustings.simulation.counts import total
from hustings.simulation.plan import Plan

_SAMPLE = 16
"""Maximum number of debates whose requests are measured; a whole batch takes little longer than one request."""
_ENOUGH = 200
"""Generated tokens that earlier runs must have for their speed to be used."""


def time_of(plan: Plan, result: Estimate, starts: Sequence[Start], rules: Rules) -> str:
    """A sentence that says how long the run takes and how that is known; empty if it is not known.

    Args:
        plan: the run's plan.
        result: what the run takes.
        starts: the debates to play, with personas or stand-ins.
        rules: the debates' rules.
    """
    if not result.tokens:
        return ""
    known = earlier(plan, result)
    if known is not None:
        return f"It takes about {duration(known)} at the speed of earlier runs of this model here."
    settings, seats = plan.settings, [plan.casting.of(role) for role in plan.settings.roles]
    here = all(seat.weights.gguf or seat.weights.folder for seat in seats)
    if not here or settings.trainer.ranks > 1 or settings.control.read or not settings.control.speak:
        return ""
    seconds = _measured(plan, result, starts, rules)
    return (
        f"It takes about {duration(seconds)} at the speed just measured, once the model is loaded." if seconds else ""
    )


def earlier(plan: Plan, result: Estimate) -> float | None:
    """Seconds that the run takes at the speed of earlier runs; None if there are none."""
    spent = _earlier(plan)
    if not spent:
        return None
    return result.tokens * spent["seconds"] / (spent["tokens"] + spent.get("persona_tokens", 0))


def _earlier(plan: Plan) -> Mapping[str, Any]:
    """What debates in the store took on the same model and engine: those of this run, or otherwise any others.

    If some roles run on other models, only the run's own debates say how long it takes.
    """
    seat = plan.casting.main
    like: list[Mapping[str, Any]] = []
    own: list[Mapping[str, Any]] = []
    names = {plan.debates(topic).id for topic in plan.settings.topics}
    for manifest in artifacts(plan.store, "debates"):
        of, spent = manifest["of"], manifest.get("spent") or {}
        if (of.get("model"), of.get("engine")) == (seat.weights.fingerprint, seat.engine.substance()) and spent:
            (own if manifest["id"] in names else like).append(spent)
    for found in (own, [] if plan.settings.cast else like):
        spent = total(found)
        if spent.get("tokens", 0) >= _ENOUGH and spent.get("seconds", 0) > 0:
            return spent
    return {}


def _measured(plan: Plan, result: Estimate, starts: Sequence[Start], rules: Rules) -> float:
    """Seconds that the run takes, judged by a batch of survey answers and one of replies, halfway through debates."""
    sample = starts[: min(_SAMPLE, plan.settings.engine.concurrency)]
    asked: list[Request] = []
    play(Counter({}), sample, {}, rules, len(sample), Listener(on_answer=lambda request, _: asked.append(request)))
    surveys = _middle([request for request in asked if request.options], len(sample))
    replies = _middle([request for request in asked if not request.options], len(sample))
    if not surveys or not replies:
        return 0.0
    say("measuring the speed of this machine …")
    try:
        engine = plan.casting.debaters()
        engine.prepare()
        began = time.monotonic()
        answered = sum(1 for _ in engine.stream(deque(surveys)))
        surveyed = time.monotonic()
        tokens = sum(answer.tokens for _, answer in engine.stream(deque(replies)))
        ended = time.monotonic()
    finally:
        plan.casting.close()
    each_survey, each_token = (surveyed - began) / answered, (ended - surveyed) / max(1, tokens)
    return result.surveys * each_survey + (result.tokens - result.surveys) * each_token


def _middle(requests: Sequence[Request], count: int) -> Sequence[Request]:
    start = max(0, (len(requests) - count) // 2)
    return requests[start : start + count]
