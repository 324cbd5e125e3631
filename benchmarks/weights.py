"""How far survey answers move, and how much faster a model is, with Q8_0 instead of F16 weights.

It plays debates with F16 weights, then asks the Q8_0 weights exactly the same survey questions:

    python benchmarks/weights.py model=gguf model.path=FILE.gguf topic=racism repetitions=4

It prints one JSON line: seconds for conversion and loading, prompt and generated tokens per second of each form, the
mean absolute difference of `expected` (points), the mean difference, and the share of identical choices.
"""

import json
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

import hustings
from hustings.engine.base import Engine, Request, Score
from hustings.engine.openvino import OpenvinoEngine
from hustings.models import resolve
from hustings.settings import SimulateSettings


def asked(settings: SimulateSettings) -> list[Request]:
    """All requests of a run that keeps its artifacts in a separate folder."""
    requests: list[Request] = []
    original = OpenvinoEngine.stream

    def stream(self: OpenvinoEngine, queue: deque[Request]) -> Any:
        for request, answer in original(self, queue):
            requests.append(request)
            yield request, answer

    OpenvinoEngine.stream = stream
    try:
        with tempfile.TemporaryDirectory() as name:
            hustings.simulate(settings.model_copy(update={"artifacts": name}), Path(name) / "run")
    finally:
        OpenvinoEngine.stream = original
    return requests


def measured(engine: Engine, surveys: list[Request], replies: list[Request]) -> tuple[list[Score], dict[str, float]]:
    """Answers to all surveys, and the speed of reading them and of generating some replies."""
    began = time.monotonic()
    found = {request.turn: answer for request, answer in engine.stream(deque(surveys)) if isinstance(answer, Score)}
    read = time.monotonic() - began
    began = time.monotonic()
    tokens = sum(answer.tokens for _, answer in engine.stream(deque(replies)))
    wrote = time.monotonic() - began
    scores = [found[request.turn] for request in surveys]
    return scores, {
        "prompt_tokens_per_s": sum(it.prompt_tokens for it in scores) / read,
        "generated_tokens_per_s": tokens / wrote,
    }


def main() -> None:
    """Print the comparison."""
    settings = hustings.compose(*sys.argv[1:])
    requests = asked(settings)
    surveys = [request for request in requests if request.options]
    replies = [request for request in requests if not request.options][-24:]
    values = np.array([float(option) for option in surveys[0].options])
    weights = resolve(settings.model)
    result: dict[str, Any] = {"model": weights.name, "surveys": len(surveys)}
    expected: dict[str, np.ndarray] = {}
    chosen: dict[str, list[str]] = {}
    for form in ("none", "8bit"):
        engine_settings = settings.engine.model_copy(update={"quantization": form})
        began = time.monotonic()
        with OpenvinoEngine(weights, engine_settings, settings.model.context) as engine:
            result[f"load_s_{form}"] = time.monotonic() - began
            scores, speed = measured(engine, surveys, replies)
        result |= {f"{key}_{form}": value for key, value in speed.items()}
        shares = np.exp([score.logprobs for score in scores])
        expected[form] = shares @ values / shares.sum(axis=1)
        chosen[form] = [score.text for score in scores]
    difference = expected["8bit"] - expected["none"]
    result["mean_absolute_difference"] = float(np.abs(difference).mean())
    result["mean_difference"] = float(difference.mean())
    result["largest_difference"] = float(np.abs(difference).max())
    result["equal_choices"] = float(np.mean([a == b for a, b in zip(chosen["none"], chosen["8bit"], strict=True)]))
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}))


if __name__ == "__main__":
    main()
