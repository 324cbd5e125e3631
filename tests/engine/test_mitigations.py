"""Contrast, rerank and steering on a tiny model, each beside a reference of its algorithm written with plain passes."""

import math
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import engine_settings
from safetensors.torch import save_file
from tiny import tiny_model

from hustings.adapters import Adapter, scaled
from hustings.engine import choosing
from hustings.engine.base import Choice, Completion, Contrast, Likelihood, Request, Sampling, Steering, Turn
from hustings.engine.transformers import TransformersEngine
from hustings.identity import seed_of, sha256
from hustings.merging import ADAPTER_FILE
from hustings.models import Weights

TOKENS = 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def engine_of(folder: Path, **changes: Any) -> TransformersEngine:
    return TransformersEngine(Weights("tiny", "0" * 64, None, folder), engine_settings("transformers", **changes), 400)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[TransformersEngine]:
    with engine_of(tiny) as engine:
        yield engine


def request(number: int, **changes: Any) -> Request:
    plain: dict[str, Any] = {
        "prompt": f"You are number {number}. " + "The people know. " * (number % 4) + "What do you say?",
        "seed": number,
        "sampling": Sampling(1.0, TOKENS, ignore_end=True),
        "turn": Turn(f"racism/rep_dem/{number:04}", 1, "republican", 3, "reply", "Ann"),
        "start": "I",
    }
    return Request(**{**plain, **changes})


def rival_of(number: int) -> str:
    return f"You are an average American. {'It is a problem. ' * (number % 3)}What do you say?"


def tokens_of(engine: TransformersEngine, prompt: str, text: str) -> list[int]:
    turns = [{"role": "user", "content": prompt}]
    whole = engine._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return engine._tokenizer(whole + text, add_special_tokens=False).input_ids


def logits_of(engine: TransformersEngine, tokens: list[int]) -> Any:
    with torch.inference_mode():
        return engine._model(torch.tensor([tokens])).logits[0].float()


def race(logits: Any, generator: Any) -> int:
    noise = torch.empty(len(logits)).exponential_(generator=generator)
    return int((logits.log_softmax(-1) - noise.log()).argmax())


def contrast_reference(engine: TransformersEngine, asked: Request) -> str:
    """ℓ = ℓ_default + γ (ℓ_story − ℓ_default), tokens below the floor dropped, one token at a time, without a cache."""
    assert asked.contrast is not None
    own, rival = (tokens_of(engine, prompt, asked.start) for prompt in (asked.prompt, asked.contrast.prompt))
    generator, written = torch.Generator().manual_seed(asked.seed), []
    for _ in range(TOKENS):
        story, default = logits_of(engine, own + written)[-1], logits_of(engine, rival + written)[-1]
        mixed = default + asked.contrast.gamma * (story - default)
        chances = story.softmax(-1)
        mixed[chances < asked.contrast.floor * chances.max()] = -math.inf
        written.append(race(mixed, generator))
    return asked.start + engine._tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("gamma", [0.5, 1.5, 2.0])
def test_contrast_is_its_algorithm(engine: TransformersEngine, gamma: float) -> None:
    asked = [request(n, contrast=Contrast(rival_of(n), None, gamma, 0.1)) for n in range(6)]
    mixed = [*asked, *(request(n) for n in range(3))]
    answers = engine.complete(mixed)
    assert [answer.text for answer in answers[:6]] == [contrast_reference(engine, it) for it in asked]
    assert answers[6:] == engine.complete(mixed[6:])
    assert [it.text for it in answers[:3]] != [it.text for it in answers[6:]]


def test_gamma_1_is_the_own_context_alone(engine: TransformersEngine) -> None:
    asked = [request(n) for n in range(8)]
    contrasted = [replace(it, contrast=Contrast(rival_of(n), None, 1.0, 0.0)) for n, it in enumerate(asked)]
    pairs = zip(engine.complete(contrasted), engine.complete(asked), strict=True)
    assert all(one.text == other.text for one, other in pairs)


def test_a_row_with_a_contrast_ends_by_itself_while_others_go_on(engine: TransformersEngine) -> None:
    lengths = [3, 12, 7, 1]
    asked = [
        request(n, sampling=Sampling(1.0, length, ignore_end=True), contrast=Contrast(rival_of(n), None, 1.5, 0.1))
        for n, length in enumerate(lengths)
    ]
    answers = engine.complete(asked)
    assert [answer.tokens for answer in answers] == lengths
    assert [contrast_reference(engine, it).startswith(answer.text.rstrip("�")) for it, answer in
            zip(asked, answers, strict=True)] == [True] * 4  # fmt: skip


def likelihood_reference(engine: TransformersEngine, prompt: str, start: str, text: str) -> tuple[float, int]:
    before = tokens_of(engine, prompt, start)
    tokens = engine._tokenizer(text, add_special_tokens=False).input_ids
    after = logits_of(engine, before + tokens).log_softmax(-1)
    return sum(float(after[len(before) - 1 + n, token]) for n, token in enumerate(tokens)), len(tokens)


def test_the_likelihood_of_a_text_is_that_of_one_whole_pass(engine: TransformersEngine) -> None:
    texts = [
        " think the climate is changing.",
        "a",
        " say so, and 100 people know that this is a very big problem!",
        "x",
    ]
    asked = [request(n, text=text) for n, text in enumerate(texts)]
    found = {it.seed: answer for it, answer in engine.stream(deque([*asked, request(9)]))}
    for it in asked:
        answer = found[it.seed]
        assert isinstance(answer, Likelihood)
        total, length = likelihood_reference(engine, it.prompt, it.start, it.text)
        assert (answer.logprob, answer.length) == (pytest.approx(total, abs=1e-4), length)
    assert isinstance(found[9], Completion)


def rerank_reference(engine: TransformersEngine, asked: Request) -> str:
    """Of n replies, the one that the story explains best among those that are likely enough."""
    assert asked.choice is not None
    seeds = [asked.seed, *(seed_of(asked.seed, "candidate", n) for n in range(1, asked.choice.count))]
    texts = [engine.complete([replace(asked, choice=None, seed=seed)])[0].text for seed in seeds]
    scored: list[tuple[float, float, str]] = []
    for text in texts:
        story, length = likelihood_reference(engine, asked.prompt, asked.start, text.removeprefix(asked.start))
        default, _ = likelihood_reference(engine, asked.choice.prompt, asked.start, text.removeprefix(asked.start))
        scored.append((story / length, (story - default) / length, text))
    most = max(own for own, _, _ in scored)
    return max((it for it in scored if it[0] >= most - asked.choice.margin), key=lambda it: it[1])[2]


@pytest.mark.parametrize("margin", [0.05, 0.5, 100.0])
def test_rerank_is_its_algorithm(engine: TransformersEngine, margin: float) -> None:
    asked = [request(n, choice=Choice(4, margin, rival_of(n), None)) for n in range(5)]
    answers = {it.seed: answer for it, answer in choosing.answers(engine, deque([*asked, request(7)]))}
    assert len(answers) == 6
    for it in asked:
        answer = answers[it.seed]
        assert isinstance(answer, Completion)
        assert answer.text == rerank_reference(engine, it)
        assert answer.tokens == 4 * TOKENS


def test_one_of_one_is_the_answer_without_a_choice(engine: TransformersEngine) -> None:
    asked = [request(n) for n in range(5)]
    chosen = deque(replace(it, choice=Choice(1, 0.5, rival_of(0), None)) for it in asked)
    found = {it.seed: answer for it, answer in choosing.answers(engine, chosen)}
    assert [found[it.seed] for it in asked] == engine.complete(asked)


def vectors(folder: Path) -> Path:
    torch.manual_seed(3)
    save_file({f"layer.{layer}": 3 * torch.randn(64) for layer in range(2)}, folder / "vectors.safetensors")
    return folder / "vectors.safetensors"


def steering_reference(engine: TransformersEngine, asked: Request) -> str:
    """h += a·v at one layer, at the places of the answer's tokens."""
    assert asked.steering is not None
    from safetensors.torch import load_file

    move = asked.steering.strength * load_file(asked.steering.file)[f"layer.{asked.steering.layer}"]
    prompt, written = tokens_of(engine, asked.prompt, asked.start), []
    generator = torch.Generator().manual_seed(asked.seed)

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        moved = states.clone()
        moved[:, len(prompt) :] += move
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    hook = engine._model.model.layers[asked.steering.layer].register_forward_hook(add)
    for _ in range(TOKENS):
        written.append(race(logits_of(engine, prompt + written)[-1], generator))
    hook.remove()
    return asked.start + engine._tokenizer.decode(written, skip_special_tokens=True)


def test_steering_is_its_algorithm_and_rows_that_are_not_steered_stay(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    file = vectors(tmp_path)
    asked = [request(n, steering=Steering(file, n % 2, 0.5 + n)) for n in range(4)]
    mixed = [*asked, *(request(n) for n in range(3))]
    answers = engine.complete(mixed)
    assert [answer.text for answer in answers[:4]] == [steering_reference(engine, it) for it in asked]
    assert answers[4:] == engine.complete(mixed[4:])


def test_steering_with_nothing_changes_nothing(engine: TransformersEngine, tmp_path: Path) -> None:
    file = vectors(tmp_path)
    plain = [request(n) for n in range(5)]
    assert engine.complete([replace(it, steering=Steering(file, 1, 0.0)) for it in plain]) == engine.complete(plain)


def test_prompts_that_were_read_before_are_not_read_again_and_answers_are_the_same(tiny: Path) -> None:
    story = "You are number 3, and the people of this country know that the climate is changing. " * 2
    said = [f"Ann: {n} of the people say so. " for n in range(6)]
    waves: list[list[Request]] = []
    for number in range(6):
        base = story + "".join(said[:number])
        turns = [Turn("racism/rep_dem/0001", place, "republican", number, "reply", "Ann") for place in range(3)]
        waves.append([
            *(request(10 * number + turn.agent, prompt=f"{turn.agent} {base} Speak.", turn=turn) for turn in turns),
            *(request(turn.agent, prompt=f"{turn.agent} {base} How big?", turn=replace(turn, purpose="survey"),
                      options=("1", "10", "3")) for turn in turns),
        ])  # fmt: skip
    with engine_of(tiny, cache_gb=1.0) as kept, engine_of(tiny, cache_gb=0.0) as without:
        seen: list[int] = []
        inner = kept._model.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs["input_ids"].numel())
            return inner(*args, **kwargs)

        kept._model.forward = counted
        for wave in waves:
            again = dict(without.stream(deque(wave)))
            for asked, answer in kept.stream(deque(wave)):
                other = again[asked]
                if isinstance(answer, Completion):
                    assert answer == other
                else:
                    assert answer.logprobs == pytest.approx(other.logprobs, abs=1e-4)  # pyright: ignore
        last = sum(len(tokens_of(without, it.prompt, it.start)) for it in waves[-1])
        prompts = [count for count in seen[-TOKENS - 4 :] if count > 6]
        assert sum(prompts) < last / 2


def test_kept_prompts_stay_within_their_room(tiny: Path) -> None:
    with engine_of(tiny, cache_gb=1e-4, batch_size=2) as engine:
        engine.complete([request(n) for n in range(30)])
        assert engine._prefixes is not None
        assert 0 < engine._prefixes._size <= 1e5
        batches = {id(it.batch): it.size for it in engine._prefixes._kept.values()}
        assert engine._prefixes._size == sum(batches.values())


@pytest.fixture(scope="module")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter whose weights are large enough to change every text."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(5)
    base: Any = AutoModelForCausalLM.from_pretrained(tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a deprecated name of transformers
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return Adapter(folder, {"files": {ADAPTER_FILE: sha256(folder / ADAPTER_FILE)}})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))


def adapted(tiny: Path, folder: Path | None, asked: list[Request]) -> list[str]:
    weights = Weights("tiny", "0" * 64, None, tiny)
    with TransformersEngine(weights, engine_settings("transformers"), 400, folder) as engine:
        return [answer.text for answer in engine.complete(asked)]


def test_an_adapter_at_scale_0_is_the_model_and_at_1_the_adapter(tiny: Path, tuned: Adapter) -> None:
    asked = [request(n) for n in range(6)]
    base, whole = adapted(tiny, None, asked), adapted(tiny, tuned.folder, asked)
    assert adapted(tiny, scaled(tuned, 0.0), asked) == base != whole
    assert scaled(tuned, 1.0) == tuned.folder
    assert adapted(tiny, scaled(tuned, 0.5), asked) not in (base, whole)


def test_half_an_adapter_adds_half_of_what_it_adds(tiny: Path, tuned: Adapter) -> None:
    from safetensors.torch import load_file

    half = scaled(tuned, 0.5)
    weights = load_file(tuned.folder / ADAPTER_FILE)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    added = 2.0 * weights[name.format("B")] @ weights[name.format("A")]
    with TransformersEngine(
        Weights("tiny", "0" * 64, None, tiny), engine_settings("transformers"), 400, half
    ) as engine:
        layer = engine._model.base_model.model.model.layers[0].self_attn.q_proj
        assert torch.allclose(layer.get_delta_weight("default"), added / 2, atol=1e-6)
