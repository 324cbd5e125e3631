import math
import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import engine_settings
from tiny import tiny_model

from hustings.engine.base import Request, Sampling, Score, Turn
from hustings.engine.transformers import TransformersEngine
from hustings.errors import EngineError, ModelError
from hustings.huggingface import dtype_of
from hustings.models import Weights

NUMBERS = tuple(str(number) for number in range(11))
CONTEXT = 400


def weights(folder: Path) -> Weights:
    return Weights("tiny", "0" * 64, None, folder)


def request(number: int, **changes: Any) -> Request:
    plain: dict[str, Any] = {
        "prompt": f"You are number {number}. " + "The climate is changing. " * (number % 5) + "What do you say?",
        "seed": number,
        "sampling": Sampling(1.0, 24),
        "turn": Turn(f"racism/rep_dem/{number:04}", 1, "default", 3, "reply", "Ann"),
    }
    return Request(**{**plain, **changes})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[TransformersEngine]:
    with TransformersEngine(weights(tiny), engine_settings("transformers"), CONTEXT) as engine:
        yield engine


def brute_force(engine: TransformersEngine, asked: Request, option: str) -> float:
    """Log-probability of an option's tokens from one whole pass, without cache or batch."""
    import torch

    tokenizer, model = engine._tokenizer, engine._model
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked.prompt}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(text + asked.start, add_special_tokens=False).input_ids
    answer = tokenizer(option, add_special_tokens=False).input_ids
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt + answer])).logits[0].float().log_softmax(-1)
    return sum(float(logprobs[len(prompt) - 1 + place, token]) for place, token in enumerate(answer))


def test_a_text_does_not_depend_on_its_batch(engine: TransformersEngine, tiny: Path) -> None:
    requests = [request(number) for number in range(100)]
    together = engine.complete(requests)
    order = random.Random(1).sample(range(100), 100)
    shuffled = dict(zip(order, engine.complete([requests[place] for place in order]), strict=True))
    with TransformersEngine(weights(tiny), engine_settings("transformers", batch_size=3), CONTEXT) as other:
        in_threes = other.complete(requests)
    assert sum(together[place] == shuffled[place] for place in range(100)) >= 99
    assert sum(together[place] == in_threes[place] for place in range(100)) >= 99
    assert len({answer.text for answer in together}) > 90


def test_greedy_text_is_that_of_transformers_itself(engine: TransformersEngine) -> None:
    import torch

    asked = request(4, sampling=Sampling(0, 16), start="I")
    [answer, _] = engine.complete([asked, request(1)])
    tokenizer, model = engine._tokenizer, engine._model
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked.prompt}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(text + "I", add_special_tokens=False, return_tensors="pt").input_ids
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16)
    assert answer.text == "I" + tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert answer.prompt_tokens == ids.shape[1]


def test_samples_follow_the_models_probabilities(engine: TransformersEngine) -> None:
    import torch

    alike = [request(2, seed=seed, sampling=Sampling(0.5, 1, ignore_end=True)) for seed in range(2000)]
    row = engine._row(alike[0])
    with torch.inference_mode():
        expected = (engine._model(torch.tensor([row.prompt])).logits[0, -1] / 0.5).softmax(-1)
    texts = [engine._tokenizer.decode([token], skip_special_tokens=True) for token in range(len(expected))]
    word = texts[int(expected.argmax())]
    likely = sum(float(chance) for chance, text in zip(expected, texts, strict=True) if text == word)
    share = sum(answer.text == word for answer in engine.complete(alike)) / len(alike)
    assert abs(share - likely) < 4 * math.sqrt(likely * (1 - likely) / len(alike))


def test_rows_of_one_batch_keep_their_own_limits(engine: TransformersEngine) -> None:
    limits = [1, 20, 5]
    answers = engine.complete([request(0, seed=n, sampling=Sampling(1.0, n, ignore_end=True)) for n in limits])
    assert [(answer.tokens, answer.finish) for answer in answers] == [(n, "length") for n in limits]


def test_an_answer_stops_where_the_model_ends_its_turn(tiny: Path) -> None:
    with TransformersEngine(weights(tiny), engine_settings("transformers"), CONTEXT) as engine:
        [free] = engine.complete([request(0, sampling=Sampling(0, 8, ignore_end=True))])
        tokens = engine._tokenizer(free.text, add_special_tokens=False).input_ids
        engine._end = {tokens[0]}
        [stopped, going] = engine.complete(
            [request(0, sampling=Sampling(0, 8)), request(0, sampling=Sampling(0, 8, ignore_end=True))]
        )
    assert (stopped.text, stopped.tokens, stopped.finish) == ("", 0, "stop")
    assert (going.text, going.finish) == (free.text, "length")


@pytest.mark.parametrize("digits", [True, False])
def test_scores_of_options_are_those_of_a_whole_pass_for_each(tmp_path: Path, digits: bool) -> None:
    with TransformersEngine(
        weights(tiny_model(tmp_path, digits=digits)), engine_settings("transformers"), CONTEXT
    ) as engine:
        requests = [request(number, options=NUMBERS, start="I say " * (number % 2)) for number in range(5)]
        scores = engine.score(requests)
        lengths = [len(sequence) for sequence in engine._sequences(("1", "10"))]
        assert lengths == ([1, 2] if digits else [1, 1])
        for asked, score in zip(requests, scores, strict=True):
            expected = [brute_force(engine, asked, option) for option in NUMBERS]
            if digits:
                expected[1] += math.log1p(-math.exp(expected[10] - expected[1]))
            assert score.logprobs == pytest.approx(expected, abs=1e-4)
            assert score.text == NUMBERS[expected.index(max(expected))]


def test_options_of_several_tokens_are_walked_to_their_ends(engine: TransformersEngine) -> None:
    options = ("climate change", "climate", "the people", "10", "100", "1")
    asked = request(3, options=options)
    [score] = engine.score([asked])
    assert score.logprobs is not None
    for option, logprob in zip(options, score.logprobs, strict=True):
        if option in ("climate change", "the people", "100"):
            assert logprob == pytest.approx(brute_force(engine, asked, option), abs=1e-4)
    assert sum(map(math.exp, score.logprobs)) < 1


@pytest.mark.parametrize(
    "options",
    [
        ("Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree"),
        ("Agree", "Agree strongly", "Agreed", "A"),
        ("A", "B", "C", "D", "E"),
    ],
)
def test_options_in_words_are_scored_by_the_tokens_that_spell_them(
    engine: TransformersEngine, options: tuple[str, ...]
) -> None:
    asked = [request(number, options=options, start="I say " * (number % 2)) for number in range(3)]
    tokens = engine._sequences(options)
    assert max(map(len, tokens)) > 1 or options[0] == "A"
    for one, score in zip(asked, engine.score(asked), strict=True):
        assert score.logprobs is not None
        for option, own in zip(options, tokens, strict=True):
            begun = [it for it, other in zip(score.logprobs, tokens, strict=True) if other[: len(own)] == own]
            assert sum(map(math.exp, begun)) == pytest.approx(math.exp(brute_force(engine, one, option)), rel=1e-3)


def test_one_does_not_swallow_ten(engine: TransformersEngine) -> None:
    asked = request(1, options=("1", "10"))
    [score] = engine.score([asked])
    assert score.logprobs is not None
    one, ten = map(math.exp, score.logprobs)
    assert one + ten == pytest.approx(math.exp(brute_force(engine, asked, "1")), abs=1e-6)


def test_requests_put_into_the_queue_meanwhile_are_answered(engine: TransformersEngine) -> None:
    queue = deque([request(0), request(1, options=NUMBERS)])
    seen: list[int] = []
    for asked, answer in engine.stream(queue):
        seen.append(asked.seed)
        assert isinstance(answer, Score) == bool(asked.options)
        if len(seen) < 6:
            queue.append(request(len(seen) + 10))
    assert sorted(seen) == [0, 1, 11, 12, 13, 14, 15]


def test_a_prompt_beyond_the_context_says_which_debate_and_how_long(engine: TransformersEngine) -> None:
    long = request(7, prompt="the people " * 400)
    with pytest.raises(EngineError, match=r"racism/rep_dem/0007, agent 1, iteration 3: .* tokens .*24.*400"):
        engine.complete([long])


def test_a_base_model_gets_the_plain_prompt(tmp_path: Path) -> None:
    with TransformersEngine(
        weights(tiny_model(tmp_path, chat=False)), engine_settings("transformers"), CONTEXT
    ) as engine:
        row = engine._row(request(0, prompt="The people", start="say"))
        assert engine._tokenizer.decode(row.prompt) == "The people\n\nsay"
        assert engine.complete([request(0)])[0].tokens > 0


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantized_models_answer_and_score(tiny: Path, quantization: str, engine: TransformersEngine) -> None:
    requests = [request(number, options=NUMBERS) for number in range(3)]
    with TransformersEngine(
        weights(tiny), engine_settings("transformers", quantization=quantization), CONTEXT
    ) as small:
        assert type(small._model.model.layers[0].mlp.up_proj).__module__.startswith("bitsandbytes")
        assert all(answer.tokens > 0 for answer in small.complete([request(number) for number in range(3)]))
        rough, exact = small.score(requests), engine.score(requests)
    for one, other in zip(rough, exact, strict=True):
        assert one.logprobs is not None and one.logprobs != other.logprobs
        assert one.logprobs == pytest.approx(other.logprobs, abs=2)


def test_fast_is_bfloat16_where_the_device_computes_in_it(
    tiny: Path, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    assert dtype_of("fast", "cuda") == torch.bfloat16
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert dtype_of("fast", "cpu") == dtype_of("exact", "cuda") == torch.float32
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    requests = [request(number, options=NUMBERS) for number in range(3)]
    with TransformersEngine(weights(tiny), engine_settings("transformers", precision="fast"), CONTEXT) as fast:
        assert str(fast._model.dtype) == "torch.bfloat16"
        for one, other in zip(fast.score(requests), engine.score(requests), strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=0.3)


def test_each_engine_promises_what_it_can_keep(tiny: Path, engine: TransformersEngine) -> None:
    assert "99 %" in engine.promise
    with TransformersEngine(weights(tiny), engine_settings("transformers", quantization="8bit"), CONTEXT) as small:
        assert "99 %" not in small.promise


def test_a_folder_that_transformers_cannot_load_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_architecture"}')
    with pytest.raises(ModelError, match="could not load this model"):
        TransformersEngine(weights(tmp_path), engine_settings("transformers"), CONTEXT)


def test_a_gpu_that_is_not_there_is_an_engine_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"engine\.device"):
        TransformersEngine(weights(tiny), engine_settings("transformers", device="cuda"), CONTEXT)
