"""Prompts as models of every family read them: golden texts of their own chat templates, through both engines.

Templates (templates/*.jinja) are those that the families publish; golden texts (templates/*.txt) are a reply with its
prefilled start, and a survey.
"""

from pathlib import Path
from typing import Any

import pytest
from helpers import engine_settings
from tiny import tiny_model

from hustings.engine.base import Request, Sampling, Turn
from hustings.engine.openvino import OpenvinoEngine
from hustings.engine.transformers import TransformersEngine
from hustings.errors import EngineError, ModelError
from hustings.huggingface import Chat, chat_of, check_taken, prompt_tokens
from hustings.models import Weights

TEMPLATES = Path(__file__).parent / "templates"
FAMILIES: dict[str, tuple[tuple[str, str], bool]] = {
    "llama2": (("<s>", "</s>"), True),
    "llama3": (("<|begin_of_text|>", "<|eot_id|>"), True),
    "mistral": (("<s>", "</s>"), True),
    "qwen25": (("<|endoftext|>", "<|im_end|>"), False),
    "gemma": (("<bos>", "<eos>"), True),
    "phi": (("<|endoftext|>", "<|im_end|>"), False),
    "smollm2": (("<|im_start|>", "<|im_end|>"), False),
    "solar": (("<s>", "</s>"), True),
    "none": (("<s>", "</s>"), True),
}
"""The tokens that begin and end a text, and whether the tokenizer puts the first of them there by itself."""
PROMPT = "You are Ann.\n\nThe debate about racism so far:\nBob: It's a problem.\n\n"


def requests() -> list[Request]:
    sampling = Sampling(1.0, 4)
    return [
        Request(PROMPT + "Ann, it is your turn.", 1, sampling, Turn("d", 0, "", 0, "reply", "Ann"), "Ann:"),
        Request(
            PROMPT + "How big?", 1, sampling, Turn("d", 0, "", 0, "survey", "Ann", "severity"), options=("0", "10")
        ),
    ]


def model(folder: Path, family: str) -> Path:
    special, begins = FAMILIES[family]
    template = TEMPLATES / f"{family}.jinja"
    chat = template.read_text() if template.exists() else False
    return tiny_model(folder, chat=chat, special=special, begins=begins)


def golden(family: str) -> str:
    return (TEMPLATES / f"{family}.txt").read_text()


def shown(texts: list[str]) -> str:
    return "\n--------\n".join(texts) + "\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_familys_own_prompt_with_one_beginning(tmp_path: Path, family: str) -> None:
    weights = Weights("tiny", "tiny", None, model(tmp_path, family))
    with TransformersEngine(weights, engine_settings("transformers"), 512) as engine:
        prompts = [engine._row(request).prompt for request in requests()]
        assert shown([engine._tokenizer.decode(prompt) for prompt in prompts]) == golden(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_reads_the_familys_own_prompt_with_one_beginning(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    weights = Weights("tiny", family, None, model(tmp_path / "tiny", family))
    with OpenvinoEngine(weights, engine_settings("openvino", precision="fast"), 512) as engine:
        prompts = [engine._start(request).prompt for request in requests()]
        texts = [engine._tokenizer.decode(prompt, skip_special_tokens=False)[0] for prompt in prompts]
        assert shown(texts) == golden(family)


SPACED = "\n  {{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
"""A template that leaves a line break and spaces before the token that begins a text."""


@pytest.mark.parametrize("kind", ["transformers", "openvino"])
def test_a_text_begins_once_whatever_the_template_leaves_before_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("HUSTINGS_CACHE", str(tmp_path / "cache"))
    folder = tiny_model(tmp_path / "tiny", chat=SPACED, special=("<s>", "</s>"), begins=True)
    weights, (request, _) = Weights("tiny", "spaced", None, folder), requests()
    if kind == "transformers":
        with TransformersEngine(weights, engine_settings(kind), 512) as engine:
            text = engine._tokenizer.decode(engine._row(request).prompt)
    else:
        with OpenvinoEngine(weights, engine_settings(kind, precision="fast"), 512) as other:
            text = other._tokenizer.decode(other._start(request).prompt, skip_special_tokens=False)[0]
    assert text.count("<s>") == 1
    assert text.strip().startswith("<s>[You are Ann.")


def test_a_tokenizer_that_ends_every_text_does_not_end_a_prompt(tmp_path: Path) -> None:
    from tokenizers import processors
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model(tmp_path, chat=False, special=("<s>", "</s>")))
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    assert tokenizer.decode(tokenizer("the climate").input_ids) == "<s>the climate</s>"
    tokens = prompt_tokens(tokenizer, chat_of(tokenizer), "the climate", "")
    assert tokenizer.decode(tokens).rstrip("\n") == "<s>the climate"


@pytest.mark.parametrize("taken", ["The debate about racism", "the  DEBATE about\nracism", "\ufffddebate about racism"])
def test_spaces_case_and_cut_characters_are_no_change_of_a_prompt(taken: str) -> None:
    check_taken("The debate about racism", [0] * 5, lambda _: taken)


@pytest.mark.parametrize(
    "taken",
    ["The debate about", "debate about racism", "The debate about racism</s>", "<s>The debate about racism", ""],
)
def test_a_prompt_whose_ends_were_cut_or_added_to_is_refused(taken: str) -> None:
    with pytest.raises(EngineError, match=r"tokenizer changes prompts: one that .* became .* tokens"):
        check_taken("The debate about racism", [0] * len(taken), lambda _: taken)


def test_a_template_that_rejects_every_user_is_an_error_that_says_why() -> None:
    def refuse(turns: list[dict[str, str]], opening: bool) -> str:
        raise ValueError("Only systems are supported!")

    with pytest.raises(ModelError, match=r"rejects a single user turn \(Only systems are supported!\)"):
        Chat(refuse, "")
