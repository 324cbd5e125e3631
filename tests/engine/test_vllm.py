import math
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import config, engine_settings
from tiny import tiny_model

from hustings.engine.base import Engine, Request, Sampling, Score, Turn
from hustings.engine.transformers import TransformersEngine
from hustings.engine.vllm import VllmEngine, VllmSettings, _Job
from hustings.errors import EngineError, ModelError, SettingsError
from hustings.models import Weights
from hustings.settings import SimulateSettings, load

NUMBERS = tuple(str(number) for number in range(11))
CONTEXT = 400


def settings(**changes: Any) -> VllmSettings:
    return engine_settings("vllm", **{"gpu_memory_utilization": 0.5, "cache_gb": 0.25, "compile": False, **changes})


def transformers(folder: Path, adapter: Path | None = None) -> TransformersEngine:
    return TransformersEngine(weights(folder), engine_settings("transformers"), CONTEXT, adapter)


def weights(folder: Path) -> Weights:
    return Weights("tiny", "0" * 64, None, folder)


def request(number: int, **changes: Any) -> Request:
    plain: dict[str, Any] = {
        "prompt": f"You are number {number}. " + "The climate is changing. " * (number % 5) + "What do you say?",
        "seed": 2**32 - 1 - number,
        "sampling": Sampling(1.0, 24),
        "turn": Turn(f"racism/rep_dem/{number:04}", 1, "default", 3, "reply", "Ann"),
    }
    return Request(**{**plain, **changes})


def surveys(count: int) -> list[Request]:
    return [request(number, options=NUMBERS, start="I say " * (number % 2)) for number in range(count)]


def adapter(folder: Path, base: Path, rank: int) -> Path:
    """An adapter whose weights are not zero, as if it had been trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]),
    )
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), head=32)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[VllmEngine]:
    with VllmEngine(weights(tiny), settings(), CONTEXT) as engine:
        yield engine


def same_scores(one: Engine, other: Engine, asked: list[Request]) -> None:
    for left, right in zip(one.score(asked), other.score(asked), strict=True):
        assert left.logprobs == pytest.approx(right.logprobs, abs=1e-3)
        assert (left.text, left.prompt_tokens, left.tokens) == (right.text, right.prompt_tokens, right.tokens)


@pytest.mark.vllm
def test_surveys_are_those_of_transformers_on_the_same_weights(engine: VllmEngine, tiny: Path) -> None:
    with transformers(tiny) as other:
        same_scores(engine, other, surveys(40))
        same_scores(engine, other, [request(3, options=("climate change", "climate", "the people", "10", "100", "1"))])
        same_scores(engine, other, [request(4, options=("Strongly disagree", "Disagree", "Agree", "Strongly agree"))])
        same_scores(engine, other, [request(5, options=("Agree", "Agree strongly", "Disagree"))])


@pytest.mark.vllm
def test_greedy_texts_are_those_of_transformers(engine: VllmEngine, tiny: Path) -> None:
    asked = [request(number, sampling=Sampling(0, 12), start="I" * (number % 2)) for number in range(20)]
    with transformers(tiny) as other:
        pairs = list(zip(engine.complete(asked), other.complete(asked), strict=True))
    assert sum(one == another for one, another in pairs) >= 19


@pytest.mark.vllm
def test_a_text_is_a_matter_of_its_seed_and_not_of_its_batch(engine: VllmEngine) -> None:
    asked = [request(number) for number in range(100)]
    together = engine.complete(asked)
    assert "99 %" in engine.promise
    assert engine.complete(asked) == together
    again = engine.complete(asked[::-1])[::-1]
    few = [answer for first in range(0, 30, 3) for answer in engine.complete(asked[first : first + 3])]
    assert sum(one == other for one, other in zip(together, again, strict=True)) >= 99
    assert sum(one == other for one, other in zip(together[:30], few, strict=True)) >= 29
    assert len({answer.text for answer in together}) > 90
    assert engine.complete([request(0, seed=7)]) != together[:1]


@pytest.mark.vllm
def test_samples_follow_the_models_probabilities(engine: VllmEngine) -> None:
    options = ("1", "3")
    alike = [request(2, seed=seed, sampling=Sampling(1.0, 1, ignore_end=True)) for seed in range(2000)]
    [score] = engine.score([request(2, options=options)])
    assert score.logprobs is not None
    texts = [answer.text for answer in engine.complete(alike)]
    for option, logprob in zip(options, score.logprobs, strict=True):
        likely = math.exp(logprob)
        assert abs(texts.count(option) / 2000 - likely) < 4 * math.sqrt(likely * (1 - likely) / 2000)


@pytest.mark.vllm
def test_each_request_keeps_its_own_limit_and_end(engine: VllmEngine) -> None:
    limits = [1, 20, 5]
    answers = engine.complete([request(0, seed=n, sampling=Sampling(1.0, n, ignore_end=True)) for n in limits])
    assert [(answer.tokens, answer.finish) for answer in answers] == [(n, "length") for n in limits]
    ends, engine._end = engine._end, set(range(len(engine._tokenizer)))
    [stopped, going] = engine.complete([request(0), request(0, sampling=Sampling(1.0, 4, ignore_end=True))])
    engine._end = ends
    assert (stopped.text, stopped.tokens, stopped.finish) == ("", 0, "stop")
    assert (going.tokens, going.finish) == (4, "length")


@pytest.mark.vllm
def test_requests_put_into_the_queue_meanwhile_are_answered(engine: VllmEngine) -> None:
    queue = deque([request(0), request(1, options=NUMBERS)])
    seen: list[int] = []
    for asked, answer in engine.stream(queue):
        seen.append(int(asked.turn.debate[-4:]))
        assert isinstance(answer, Score) == bool(asked.options)
        if len(seen) < 6:
            queue.append(request(len(seen) + 10))
    assert sorted(seen) == [0, 1, 11, 12, 13, 14, 15]


@pytest.mark.vllm
def test_a_consumer_that_leaves_takes_its_requests_along(engine: VllmEngine) -> None:
    alone = engine.complete([request(5)])
    for _ in engine.stream(deque(request(number) for number in range(10))):
        break
    assert not engine._engine.has_unfinished_requests()
    assert engine.complete([request(5)]) == alone


@pytest.mark.vllm
def test_a_prompt_beyond_the_context_says_which_debate_and_how_long(engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match=r"racism/rep_dem/0007, agent 1, iteration 3: .* tokens .*24.*400"):
        engine.complete([request(7, prompt="the people " * 400)])


@pytest.mark.vllm
def test_an_adapter_changes_scores_as_in_transformers(tiny: Path, engine: VllmEngine, tmp_path: Path) -> None:
    bent = adapter(tmp_path, tiny, rank=5)  # a rank that vLLM has no room of its own for
    asked = surveys(5)
    plain = engine.score(asked)
    with VllmEngine(weights(tiny), settings(), CONTEXT, bent) as one, transformers(tiny, bent) as other:
        same_scores(one, other, asked)
        for bare, with_it in zip(plain, one.score(asked), strict=True):
            assert bare.logprobs is not None and with_it.logprobs is not None
            assert max(abs(a - b) for a, b in zip(bare.logprobs, with_it.logprobs, strict=True)) > 0.01


@pytest.mark.vllm
def test_a_model_that_vllm_cannot_load_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_architecture"}')
    with pytest.raises(ModelError, match="could not load this model"):
        VllmEngine(weights(tmp_path), settings(), CONTEXT)


@pytest.mark.vllm
def test_quantized_weights_on_a_cpu_are_refused(tiny: Path, engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match=r"engine\.quantization=8bit: .* on GPUs only"):
        VllmEngine(weights(tiny), settings(precision="fast", quantization="8bit"), CONTEXT)


def test_without_vllm_one_paragraph_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"hustings\[vllm\]"):
        VllmEngine(weights(tmp_path), settings(), CONTEXT)


def test_an_adapter_of_too_high_a_rank_is_refused(tmp_path: Path) -> None:
    from hustings.engine.vllm import rank_of

    for rank, room in ((1, 1), (4, 8), (16, 16), (200, 256), (512, 512)):
        (tmp_path / "adapter_config.json").write_text(f'{{"r": {rank}}}')
        assert rank_of(tmp_path) == room
    (tmp_path / "adapter_config.json").write_text('{"r": 513}')
    with pytest.raises(ModelError, match="up to rank 512"):
        rank_of(tmp_path)


def test_the_config_is_whole_and_names_what_cannot_be() -> None:
    of = load(SimulateSettings, config("engine=vllm", "engine.distributed_executor=ray", "engine.tensor_parallel=2"))
    assert isinstance(of.engine, VllmSettings)
    assert of.engine.substance() == {"kind": "vllm", "precision": "fast", "quantization": "none"}
    with pytest.raises(SettingsError, match=r"engine\.quantization=8bit: .*engine\.precision=fast"):
        load(SimulateSettings, config("engine=vllm", "engine.quantization=8bit", "engine.precision=exact"))
    with pytest.raises(SettingsError, match=r"engine\.distributed_executor"):
        load(SimulateSettings, config("engine=vllm", "engine.distributed_executor=slurm"))


def test_a_prompt_that_vllm_did_not_take_as_it_was_given_is_an_error() -> None:
    engine = object.__new__(VllmEngine)
    job = _Job(request(1), [1, 2, 3], [], {"7": ()})
    output = SimpleNamespace(request_id="7", prompt_token_ids=[2, 3], outputs=[None])
    with pytest.raises(EngineError, match="was given a prompt of 3 tokens and took 2"):
        engine._answer(job, output)
