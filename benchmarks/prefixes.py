"""How many prompt tokens must be computed with a prefix cache: `python benchmarks/prefixes.py --debates 40`.

It plays debates like those of `debates.py` and tokenizes every prompt and answer. The *unique* tokens of a prompt are
those whose whole prefix has not occurred before in any prompt or answer; no cache can compute fewer. A cache that
keeps whole blocks computes more. This is counted for some block sizes, assuming that nothing is ever evicted.
"""

import argparse
from collections.abc import Sequence

from debates import REPLIES, ROUNDS, TOKENS
from gpu_ways import starts
from transformers import AutoTokenizer

import hustings
from hustings import engine as engines
from hustings import models
from hustings.debate.play import Listener, Rules, play
from hustings.engine.base import Answer, Completion, Order, Request
from hustings.huggingface import chat_of, prompt_tokens

BLOCKS = {1: "unique", 16: "vLLM's blocks on a GPU", 32: "OpenVINO's blocks", 128: "vLLM's blocks on a CPU"}


def main() -> None:
    """Play, count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debates", type=int, default=40)
    parser.add_argument("overrides", nargs="*", help="as for simulate.py: model=qwen")
    options = parser.parse_args()
    settings = hustings.compose(
        "model=smollm2", "topic=racism", f"rounds={ROUNDS}", f"sampling.max_tokens={TOKENS}",
        "sampling.ignore_end=true", f"repetitions={options.debates}", *options.overrides,
    )  # fmt: skip
    weights = models.resolve(settings.model)
    tokenizer = AutoTokenizer.from_pretrained(models.as_folder(weights))
    chat = chat_of(tokenizer)
    texts: list[tuple[list[int], list[int]]] = []

    def take(request: Request, answer: Answer) -> None:
        prompt = prompt_tokens(tokenizer, chat, request.prompt, request.start, request.system)
        said = answer.text.removeprefix(request.start) if isinstance(answer, Completion) else ""
        texts.append((prompt, tokenizer(said, add_special_tokens=False).input_ids))

    with engines.build(settings.engine, Order(settings.model, weights)) as engine:
        begun = starts(settings, options.debates)
        play(engine, begun, {}, Rules.of(settings), settings.engine.concurrency, Listener(on_answer=take))
    whole = sum(len(prompt) for prompt, _ in texts)
    unique = read(texts, 1)
    print(f"{options.debates} debates of {REPLIES} replies: {len(texts)} prompts, {whole:,} tokens\n")
    print("| cache | prompt tokens to compute | of all | over the unique ones |\n|---|---|---|---|")
    for size, name in BLOCKS.items():
        count = read(texts, size)
        print(f"| {name}, {size} | {count:,} | {100 * count / whole:.1f} % | {count / unique:.2f} |")


def read(texts: Sequence[tuple[list[int], list[int]]], block: int) -> int:
    """Prompt tokens that a cache with blocks of this size computes, for prompts in this order."""
    kept: set[int] = set()
    computed = 0
    for prompt, answer in texts:
        known, beginning = 0, 0
        for place in range(block, len(prompt), block):  # a prompt's last token is always computed
            beginning = hash((beginning, *prompt[place - block : place]))
            if beginning not in kept:
                break
            known = place
        computed += len(prompt) - known
        tokens, beginning = [*prompt, *answer], 0
        for place in range(block, len(tokens) + 1, block):
            beginning = hash((beginning, *tokens[place - block : place]))
            kept.add(beginning)
    return computed


if __name__ == "__main__":
    main()
