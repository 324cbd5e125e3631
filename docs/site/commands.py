"""The page of every command, from what the commands themselves print as --help."""

import argparse
import re
from collections.abc import Iterator

from hustings.cli import commands
from hustings.cli.help import help_of


def page() -> str:
    """The page."""
    parts = ["# Every command\n\nWhat each command prints with `--help`."]
    for job in ("simulate", "train", "evaluate"):
        said = re.sub(r"\n+== (.*?) ==\n", r"\n\n\1\n", help_of(job)).rstrip()
        parts.append(f"## `python {job}.py`\n\nThe same as `hustings {job}`.\n\n```text\n{said}\n```")
    for name, parser in sorted(_parsers().items()):
        if name not in ("simulate", "train", "evaluate"):
            parts.append(f"## `hustings {name}`\n\n```text\n{parser.format_help().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command of `hustings`; of one with steps, the parser of each step."""
    return dict(_inner("", commands._parser()))


def _inner(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    steps = [it for it in parser._actions if isinstance(it, argparse._SubParsersAction)]
    for choice, each in (pair for it in steps for pair in it.choices.items()):
        yield from _inner(f"{name} {choice}".strip(), each)
    if not steps:
        yield name, parser
