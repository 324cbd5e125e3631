"""Seconds per debate, measured in three or four ways with the same weights and personas: `make bench`.

40 debates of three agents on one topic, with 3 rounds and replies of exactly 64 tokens, SmolLM2-135M on the CPU:
(a) as in the paper: one `generate` call of transformers for each reply and survey, for 3 minutes, in bfloat16; and
    again in float32 if the CPU only emulates bfloat16, because float32 is then faster;
(b) a plain lock-step loop on OpenVINO GenAI (plain_openvino.py), timed as a whole process;
(c) `simulate.py`, timed as a whole process;
(d) with --vllm-python, `simulate.py engine=vllm` in that environment, timed as a whole process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, SPEAKERS, TOKENS = 3, 3, 64
REPLIES = ROUNDS * SPEAKERS


def personas(folder: Path, debates: int) -> Path:
    """Write life stories of about 100 words, used by all ways."""
    path = folder / "personas.jsonl"
    rows = []
    for party, view in (("republican", "not a problem at all"), ("democrat", "a very big problem")):
        for index in range(debates):
            name = f"{party[:3].capitalize()}{index}"
            story = f"You are {name}, a committed {party} voter. You believe that racism is {view}. " + " ".join(
                f"In year {year} of your working life you learnt something about your town, your family and the law."
                for year in range(1 + index % 3, 6 + index % 3)
            )
            rows.append(json.dumps({"party": party, "name": name, "story": story}))
    path.write_text("\n".join(rows) + "\n")
    return path


def paper_way(path: Path, limit: float, dtype: str) -> dict[str, float]:
    """Time (a): every reply and survey is a separate call, with a fresh prompt and no cache between calls.

    Args:
        limit: seconds after which no further debate is started.
        dtype: torch dtype: `bfloat16` or `float32`.
    """
    import torch
    import transformers

    from hustings.models import as_folder, embedded

    transformers.logging.set_verbosity_error()
    folder = as_folder(embedded())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    half = len(rows) // 2

    def ask(prompt: str, **config: object) -> str:
        turn = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        output = model.generate(**inputs, pad_token_id=tokenizer.eos_token_id, **config)
        return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    began, done = time.monotonic(), 0
    while done < half and time.monotonic() - began < limit:
        agents = [rows[done], rows[half + done], {"name": "Dominik", "story": "You are an American."}]
        lines: list[str] = []

        def context(agent: dict[str, str], lines: list[str] = lines) -> str:
            return (
                f"{agent['story']}\n\nYour name is {agent['name']}.\n\nThe debate about racism so far:\n"
                + "\n".join(lines)
            )

        for iteration in range(REPLIES + 1):
            if iteration % SPEAKERS == 0:
                for agent in agents:
                    ask(f"{context(agent)}\n\n{SURVEY}", max_new_tokens=2, do_sample=False)
            if iteration < REPLIES:
                agent = agents[iteration % SPEAKERS]
                instruction = INSTRUCTION.format(name=agent["name"])
                sampling = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS, "do_sample": True, "top_k": 0}
                reply = ask(f"{context(agent)}\n\n{instruction}", temperature=1.0, **sampling)
                lines.append(f"{agent['name']}: {' '.join(reply.split())}")
        done += 1
    return {"debates": done, "seconds": time.monotonic() - began}


SURVEY = (
    "How big a problem do you think racism is in the country today? "
    "Answer with one number from 0 (not a problem at all) to 10 (a very big problem)."
)
INSTRUCTION = (
    "{name}, it is your turn to speak. Answer with your next reply in the debate, in fewer than 50 words, "
    "and nothing else."
)


def process(command: list[str], debates: int, folder: Path) -> dict[str, float]:
    """Time a whole process, from start to end."""
    began = time.monotonic()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, env=os.environ)
    return {"debates": debates, "seconds": time.monotonic() - began}


def main() -> None:
    """Run all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--debates", type=int, default=40)
    parser.add_argument("--paper-seconds", type=float, default=180, help="time for (a)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of (b), (c) and (d), in turn; the median counts")
    parser.add_argument("--vllm-python", help="the python of an environment with vLLM and Hustings, for (d)")
    parser.add_argument("--json", type=Path, default=ROOT / ".bench" / "debates.json")
    options = parser.parse_args()

    from hustings.huggingface import dtype_of

    fastest = str(dtype_of("fast", "cpu")).removeprefix("torch.")
    dtypes = list(dict.fromkeys(["bfloat16", fastest]))
    titles = {f"a, {dtype}": "as in the paper: transformers, one call each" for dtype in dtypes}
    titles |= {"b": "plain lock-step loop on OpenVINO GenAI", "c": "simulate.py"}
    if options.vllm_python:
        titles["d"] = "simulate.py engine=vllm"
    with tempfile.TemporaryDirectory() as name:
        stories = personas(Path(name), options.debates)
        runs = processes(stories, options)
        for dtype in dtypes:
            runs[f"a, {dtype}"] = [paper_way(stories, options.paper_seconds, dtype)]
    result = summary(titles, runs, dtypes)
    show(titles, result)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(options.json)


def processes(stories: Path, options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Time (b), (c) and (d) in turn, as many times as requested."""
    from hustings.models import as_gguf, embedded

    folder, debates = stories.parent, options.debates
    gguf = as_gguf(embedded(), faithful=True)
    plain = [sys.executable, str(ROOT / "benchmarks/plain_openvino.py"), str(gguf), str(stories)]
    runs: dict[str, list[dict[str, float]]] = {}
    for repeat in range(options.repeats):
        ours = [
            str(ROOT / "simulate.py"),
            "model=smollm2",
            "topic=racism",
            f"repetitions={debates}",
            f"personas.file={stories}",
            f"sampling.max_tokens={TOKENS}",
            "sampling.ignore_end=true",
            f"artifacts={folder / f'artifacts{repeat}'}",
            "watch=false",
        ]
        ways = {"b": plain, "c": [sys.executable, *ours]}
        if options.vllm_python:
            ways["d"] = [options.vllm_python, *ours, "engine=vllm", "engine.cache_gb=4"]
        for way, command in ways.items():
            runs.setdefault(way, []).append(process(command, debates, folder))
            print(f"({way}) {runs[way][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return runs


def summary(titles: dict[str, str], runs: dict[str, list[dict[str, float]]], dtypes: list[str]) -> dict[str, Any]:
    """Median seconds per debate of each way, and the speed-ups."""
    result: dict[str, Any] = {}
    for way, title in titles.items():
        each = sorted(run["seconds"] / run["debates"] for run in runs[way])
        median = each[len(each) // 2]
        result[way] = {
            "way": title,
            "seconds_a_debate": round(median, 3),
            "all": [round(seconds, 3) for seconds in each],
            "tokens_a_second": round(REPLIES * TOKENS / median, 1),
        }
    fast = result["c"]["seconds_a_debate"]
    result["c_to_b"] = round(fast / result["b"]["seconds_a_debate"], 3)
    result["a_to_c"] = {dtype: round(result[f"a, {dtype}"]["seconds_a_debate"] / fast, 2) for dtype in dtypes}
    return result


def show(titles: dict[str, str], result: dict[str, Any]) -> None:
    """Print the summary as a Markdown table."""
    print("| way | seconds per debate | reply tokens per second |\n|---|---|---|")
    for way in titles:
        row = result[way]
        print(f"| ({way}) {row['way']} | {row['seconds_a_debate']:.2f} | {row['tokens_a_second']:.0f} |")
    paper = " and ".join(f"in {dtype} {ratio:.1f} ×" for dtype, ratio in result["a_to_c"].items())
    print(f"(c) takes {result['c_to_b']:.2f} × the time of (b); (a) takes {paper} the time of (c)")


if __name__ == "__main__":
    main()
