"""Way (b) of debates.py: the debates in a plain lock-step loop on OpenVINO GenAI, without Hustings."""

import json
import sys
from pathlib import Path

import openvino_genai as genai
from debates import INSTRUCTION, REPLIES, SPEAKERS, SURVEY, TOKENS


def main(gguf: str, stories: str) -> None:
    """Play all debates in parallel, one iteration after the other.

    Args:
        gguf: the model's file.
        stories: JSON lines with personas, written by debates.py.
    """
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 4
    scheduler.enable_prefix_caching = True
    pipeline = genai.ContinuousBatchingPipeline(gguf, scheduler, "CPU", {})
    rows = [json.loads(line) for line in Path(stories).read_text().splitlines()]
    half = len(rows) // 2
    default = {"name": "Dominik", "story": "You are an American."}
    debates = [[rows[place], rows[half + place], default] for place in range(half)]
    lines: list[list[str]] = [[] for _ in debates]
    reply = genai.GenerationConfig(max_new_tokens=TOKENS, do_sample=True, temperature=1.0, ignore_eos=True)
    survey = genai.GenerationConfig(
        max_new_tokens=2, structured_output_config=genai.StructuredOutputConfig(regex="(10|[0-9])")
    )
    scores = []

    def context(place: int, agent: dict[str, str]) -> str:
        return f"{agent['story']}\n\nYour name is {agent['name']}.\n\nThe debate about racism so far:\n" + "\n".join(
            lines[place]
        )

    for iteration in range(REPLIES + 1):
        if iteration % SPEAKERS == 0:
            prompts = [f"{context(p, agent)}\n\n{SURVEY}" for p, agents in enumerate(debates) for agent in agents]
            answers = pipeline.generate(prompts, [survey] * len(prompts))
            scores.append([int(answer.m_generation_ids[0]) for answer in answers])
        if iteration < REPLIES:
            speakers = [agents[iteration % SPEAKERS] for agents in debates]
            prompts = [
                f"{context(p, agent)}\n\n{INSTRUCTION.format(name=agent['name'])}" for p, agent in enumerate(speakers)
            ]
            for p, answer in enumerate(pipeline.generate(prompts, [reply] * len(prompts))):
                lines[p].append(f"{speakers[p]['name']}: {' '.join(answer.m_generation_ids[0].split())}")
    print(json.dumps(scores[-1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
