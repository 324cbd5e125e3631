"""The documentation: its commands, its links, its notebook, and what is generated when the site is built."""

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

import matplotlib
import pytest
from helpers import ROOT, config
from omegaconf import OmegaConf

import hustings
from hustings import compose
from hustings.cli.commands import _parser
from hustings.configuration import Job

sys.path.insert(0, str(ROOT / "docs" / "site"))
import hooks
import options
import settings as reference

PAGES = sorted(
    it.relative_to(ROOT).as_posix()
    for it in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").rglob("*.md"))
)
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block; those in `console` hold commands that test_extending.py runs."""
FILE = re.compile(r'^```yaml title="conf/(?P<path>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"(python|hustings|make|pip|source|accelerate)\b|\.venv")
JOBS = re.compile(r"(?:python3?|\S+/python|accelerate launch(?: --\w+ \d+)*) (?:\S*/)?(simulate|train|evaluate)\.py\b")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
INLINE = re.compile(r"`((?:python|hustings|make|pip|accelerate|vllm|wandb|mkdocs|pre-commit) [^`]+)`")
ELSEWHERE = {
    "pip install *": "installs packages",
    "python3 -m venv *": "makes an environment",
    "source .venv/bin/activate": "of a shell",
    ".venv-vllm/bin/pip *": "installs packages",
    ".venv-vllm/bin/python -m pytest -m vllm": "needs vLLM; tests/engine/test_vllm.py is what it runs",
    "VLLM_NO_USAGE_STATS=1 *": "starts a server of vLLM",
    "vllm serve*": "starts a server of vLLM",
    ".venv/bin/python benchmarks/*": "takes minutes; a benchmark",
    "python benchmarks/*": "takes minutes; a benchmark",
    "python results/*": "draws or checks what is in results/; tests/test_replication.py",
    "wandb login": "needs an account",
    "wandb sync": "needs an account",
    "hustings compare": "names a Python function",
}
"""Commands that no test runs, composes or parses, and why."""
STAND_INS = {"…": "topic=racism"}
"""What stands for more words in a command."""


def commands(page: str) -> Iterator[str]:
    """Every command of a page, a line each, without its comment."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in FENCE.finditer(text):
        if block["language"] in ("sh", "bash") or (not block["language"] and PROGRAM.match(block["text"])):
            for line in block["text"].replace("\\\n", " ").splitlines():
                command = re.sub(r"(^|\s+)#.*$", "", line).strip()
                if command:
                    yield re.sub(r"\s+", " ", command)
    if page != "CHANGELOG.md":  # which names commands of earlier versions
        yield from (it[1].strip() for it in INLINE.finditer(FENCE.sub("", text).replace("\n", " ")))


KEYS = reference.keys()
COMMANDS = sorted({command: page for page in reversed(PAGES) for command in commands(page)}.items())


def words_of(command: str) -> list[str]:
    return [it for word in shlex.split(command) for it in shlex.split(STAND_INS.get(word, shlex.quote(word)))]


def compose_first(job: Job, words: list[str], conf: Path) -> None:
    """Compose the first job of a command line and validate it; of the others, check that their options exist."""
    if "--help" in words:
        return
    first: list[str] = []
    for word in words:
        key, _, values = word.partition("=")
        each = [values] if re.search(r"[\[{']", values) else values.split(",")
        first += [f"{key}={each[0]}"] if word != "-m" else []
        if (ROOT / "conf" / key).is_dir():
            for value in each if len(each) > 1 else []:
                assert any((folder / key / f"{value}.yaml").exists() for folder in (ROOT / "conf", conf)), value
    _compose(job, tuple(first), conf if any(conf.iterdir()) else None)


@cache
def _compose(job: Job, words: tuple[str, ...], conf: Path | None) -> None:
    compose(*words, job=job, config_dir=conf)


def parse(words: list[str]) -> None:
    """Read the arguments of `hustings`."""
    try:
        _parser().parse_args(words)
    except SystemExit as end:
        assert not end.code


@pytest.fixture
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the YAML files that the command's page shows."""
    text = (ROOT / request.getfixturevalue("page")).read_text(encoding="utf-8")
    for it in FILE.finditer(text):
        (tmp_path / it["path"]).parent.mkdir(exist_ok=True)
        (tmp_path / it["path"]).write_text(it["text"], encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("command", "page"), COMMANDS, ids=[f"{page}: {command[:50]}" for command, page in COMMANDS])
def test_every_command_is_composed_or_parsed_or_listed(command: str, page: str, conf: Path) -> None:
    if any(fnmatchcase(command, pattern) for pattern in ELSEWHERE):
        return
    script = JOBS.match(command)
    if script:
        compose_first(cast(Job, script[1]), words_of(command[script.end() :]), conf)
    elif command.startswith("hustings "):
        first, *rest = words_of(command)[1:]
        if first in get_args(Job):
            compose_first(cast(Job, first), rest, conf)
        else:
            parse([first, *rest])
    elif command.startswith("make "):
        target, *variables = shlex.split(command)[1:]
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
        assert all(f"$({it.partition('=')[0]})" in MAKEFILE for it in variables)
    else:
        pytest.fail(f"{page}: {command}: run it in a test, or list it in ELSEWHERE with the reason why not")


def test_every_listed_command_is_there() -> None:
    unused = [it for it in ELSEWHERE if not any(fnmatchcase(command, it) for command, _ in COMMANDS)]
    assert unused == []


def test_every_link_between_pages_and_to_files_leads_somewhere() -> None:
    for page in PAGES:
        text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        for link in LINK.findall(text):
            target = (ROOT / page).parent / link
            generated = (
                link.startswith(("reference/", "../reference/"))
                or "/settings/" in link
                or page.startswith("docs/reference")
            )
            assert generated or target.exists(), f"{page}: {link}"


def test_every_setting_has_a_description_in_words_of_yaml() -> None:
    assert [it.name for it in KEYS if not it.about] == []
    assert [it.name for it in KEYS if re.search(r"(?<!`)\bNone\b", it.about)] == []
    assert {reference._group(it) for it in KEYS} == {it for _, _, groups in reference.PAGES.values() for it in groups}


def test_the_reference_has_every_key_that_a_run_composes() -> None:
    known = {it.name for it in KEYS}
    for job, names in (("simulate", ("engine=openai", "tracker=wandb")), ("train", ("method=dpo",)), ("evaluate", ())):
        composed = OmegaConf.to_container(config(*names, name=job), resolve=False)
        missing = [it for it in dotted(composed) if it not in known]
        assert [it for it in missing if not it.startswith(FREE)] == []


FREE = ("topics.", "society.parties.", "society.humans.share.", "instrument.items.", "engine.extra.", "party.",
        "method.nwp.", "model.price", "control.topic")  # fmt: skip
"""Keys under names that users choose, and settings that are described where they first stand."""


def dotted(config: Any, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{name}.")
        elif value != {}:
            yield f"{prefix}{name}"


def test_a_default_in_the_reference_is_that_of_conf() -> None:
    found = {it.name: (it.default, it.takes) for it in KEYS}
    assert found["sampling.temperature"] == ("`1.0`", "number, at least 0")
    assert found["first_speaker"] == ("`random`", "one of `random`, `balanced`")
    assert found["rounds"] == ("that of `composition.rounds`", "whole number, at least 1")
    assert found["topics.NAME.label"] == ("`racism`", "text, not empty")


def test_every_group_and_option_is_listed() -> None:
    page = options.page()
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert f"`{file.parent.name}={file.stem}`" in page


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    return tmp_path


def test_the_notebook_runs_and_prints_what_its_page_shows(here: Path) -> None:
    text = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    variables: dict[str, object] = {"__name__": "__main__"}
    printed: list[str] = []
    for block in FENCE.finditer(text):
        if block["language"] == "python":
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile(block["text"], "notebook.md", "exec"), variables)
            printed += [out.getvalue()] if out.getvalue() else []
    shown = [block["text"] for block in FENCE.finditer(text) if block["language"] == "text"]
    assert [[line.rstrip() for line in it.rstrip().splitlines()] for it in printed] == [it.splitlines() for it in shown]
    assert (here / "attitudes.png").stat().st_size > 10_000


def test_the_notebook_to_download_has_the_cells_of_the_page() -> None:
    text = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    made = json.loads(hooks.notebook(text))
    code = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code == [block["text"].strip() for block in FENCE.finditer(text) if block["language"] == "python"]
    assert made["cells"][0]["source"][0] == "# A notebook\n"


def test_the_python_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = {*re.findall(r"^::: hustings\.(\w+)$", page, re.MULTILINE)}
    assert "errors" in shown
    assert {it for it in hustings.__all__ if not it.endswith(("Error", "__"))} == shown - {"errors"}
