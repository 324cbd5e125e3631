"""Judges whose ratings of planted replies are known: those state the attitude that they were made with."""

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
from helpers import Recorder, Scripted

from hustings import compose, load
from hustings.analysis.statistics import statistics
from hustings.engine.base import Answer, Request, Score
from hustings.identity import seed_of
from hustings.judging.job import Bench, judge
from hustings.judging.question import RATINGS, VALUES
from hustings.settings import JudgeSettings

STATED = re.compile(r"-?\d+\.\d{6}")
_NORMAL = NormalDist()


def settings(store: Path, *words: str) -> JudgeSettings:
    """Of a judge behind an endpoint, which is never reached."""
    return compose("model=api", "model.id=stub", "engine=openai_server", f"artifacts={store}", *words, job="judge")


def attitude(request: Request) -> float:
    """What the reply in a request states, on 0 … 10."""
    (stated,) = STATED.findall(request.prompt)
    return float(stated)


def around(stance: float) -> Score:
    """An answer whose probabilities have this mean."""
    inside = min(max(stance, -3.0), 3.0)
    low = min(math.floor(inside), 2)
    shares = {low: 1 - (inside - low), low + 1: inside - low}
    logprobs = tuple(math.log(max(shares.get(value, 0.0), 1e-12)) for value in VALUES.values())
    best = max(range(len(logprobs)), key=logprobs.__getitem__)
    return Score((*logprobs, math.log(1e-12)), RATINGS[best], 100, 1)


def exchanged(request: Request) -> bool:
    """Whether the poles are exchanged in a request."""
    return '+3: it clearly says "not a problem at all"' in request.prompt


def honest(noise: float = 0.0, liking: float = 0.0) -> Callable[[Request], Answer]:
    """A judge that rates the attitude which a reply states, with noise, and likes +3 by so much."""

    def answer(request: Request) -> Answer:
        of = STATED.findall(request.prompt)[0]
        random = noise * _NORMAL.inv_cdf((hash_of(of) + 0.5) / 2**20)
        stance = (float(of) - 5) * 0.6 + random
        return around((-stance if exchanged(request) else stance) + liking)

    return answer


def hash_of(text: str) -> int:
    return seed_of(text) % 2**20


def judged(folder: Path, run: Path, answer: Any, *words: str) -> tuple[Path, Recorder]:
    """A copy of a run that a judge has rated, and what the judge was asked."""
    copy = folder / "run"
    if not copy.exists():
        shutil.copytree(run, copy)
    engine = Recorder(Scripted(answer))
    judge(Bench.of(settings(folder / "artifacts", *words), load(copy), engine))
    return copy, engine


def rows_of(run: Path, statistic: str) -> pd.DataFrame:
    """The rows of one statistic of a judged run."""
    return statistics(load(run), [statistic])
