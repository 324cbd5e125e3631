"""A tiny random model with its own tokenizer, built in half a second: what a test uses in place of a real one."""

from pathlib import Path
from typing import Any

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CORPUS = [
    "The people of this country debate climate change, racism, gun violence and illegal immigration.",
    "How big a problem do you think this is? Answer with one number from 0 to 10, such as 3 or 10.",
    "I don't think so, and we've said it ten times: it's a very big problem, 10 out of 10!\n\n",
    "The climate is changing; the people know that this is a problem, and 100 of them say so. 10 10 10",
]


def tiny_model(
    folder: Path,
    *,
    kind: str = "llama",
    chat: bool | str = True,
    digits: bool = True,
    special: tuple[str, str] = ("<|im_start|>", "<|im_end|>"),
    begins: bool = False,
    head: int = 16,
    hidden: int = 64,
) -> Path:
    """Save a random model of two layers in `folder`, as safetensors with tokenizer and config.

    Args:
        folder: made when it is not there.
        kind: `llama`, `qwen2` or `qwen3`.
        chat: with a chat template, this one or CHAT; a base model has none.
        digits: the tokenizer takes digits one by one, as SmolLM2's does; otherwise, as with Llama 3, "10" is one token.
        special: the tokens that begin and end a text.
        begins: the tokenizer puts the first of them before every text.
        head: numbers in an attention head; vLLM has CPU kernels from 32 on.
        hidden: numbers that a token is between the layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bpe(digits, special, begins),
        bos_token=special[0],
        eos_token=special[1],
        pad_token=special[1],
        unk_token="<|endoftext|>",
    )
    if chat:
        tokenizer.chat_template = CHAT if chat is True else chat
    config: Any = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=kind != "qwen2",
        initializer_range=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # norms and biases too, so that losing one would show
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bpe(digits: bool, special: tuple[str, str], begins: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Digits(individual_digits=True) if digits else pre_tokenizers.Split(Regex(_LLAMA3), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=digits)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=list(dict.fromkeys(("<|endoftext|>", *special))),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    if begins:
        first = (special[0], tokenizer.token_to_id(special[0]))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{special[0]} $A", special_tokens=[first])
    return tokenizer
