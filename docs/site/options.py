"""The page of every option that ships: the files of conf/, group by group."""

import re
from pathlib import Path

from hustings.configuration import conf_folder

GROUPS = {
    "experiment": "What to reproduce: changes to everything below.",
    "model": "The model whose bias is measured; each names the engine that suits it.",
    "engine": "What runs the model.",
    "society": "The country, its parties, and the default agent.",
    "party": "A party of a country; of `train.py`, the one that the model is fine-tuned towards.",
    "topic": "What is debated.",
    "composition": "Who sits in a debate, and who only watches.",
    "topology": "Who hears whom.",
    "instrument": "The survey: its questions, the answers to choose from, and what each is worth.",
    "prompt": "Every other sentence that the model sees.",
    "control": "What happens instead of the debate, to tell apart what moves attitudes.",
    "mitigation": "An intervention against the drift.",
    "interview": "What agents are asked so that they show their views (`train.py`).",
    "method": "How a model is fine-tuned (`train.py`).",
    "lora": "The low-rank weights that are trained (`train.py`).",
    "benchmark": "What is measured besides debates (`evaluate.py`).",
    "tracker": "Where curves are sent.",
    "cluster": "Where the jobs of a sweep run.",
}
"""Every group, in the order of the page."""


def page() -> str:
    """The page.

    Raises:
        KeyError: a group is missing above.
    """
    parts = [
        "# Every option\n\nA group takes one of its options on the command line: `model=qwen`. Each option is a file "
        "in `conf/`; open it to see what it sets. To write your own, see [Extending](../extending/yaml.md)."
    ]
    for group in sorted((it.name for it in conf_folder().iterdir() if it.is_dir()), key=list(GROUPS).index):
        parts.append(f"## `{group}` {{ #{group} }}\n\n{GROUPS[group]}")
        for file in sorted((conf_folder() / group).glob("*.yaml"), key=_natural):
            text = file.read_text(encoding="utf-8")
            title = f"`{group}={file.stem}`{_about(text)}".replace('"', "'")
            body = "\n".join(f"    {line}".rstrip() for line in f"```yaml\n{text.strip()}\n```".splitlines())
            parts.append(f'??? abstract "{title}"\n\n{body}')
    return "\n\n".join(parts) + "\n"


def _natural(file: Path) -> tuple[str, int]:
    """Orders figure3 before figure11."""
    name, number = re.fullmatch(r"(.*?)(\d*)", file.stem).groups()
    return name, int(number or 0)


def _about(text: str) -> str:
    """The first sentence of a file's comment."""
    comment = " ".join(re.findall(r"^# (?!@package)(.*)$", text.split("\n\n")[0], re.MULTILINE))
    first = re.split(r"(?<=[.:])\s", comment, maxsplit=1)[0].rstrip(".:")
    return f": {first}" if first and text.lstrip().startswith("#") else ""
