"""Command lines that a generator makes, right and wrong ones: settings, or one paragraph, and never a traceback.

HUSTINGS_SOAK=1 (`make soak`) tries 2,000 of them, `make test` a few.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import CONF, config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from soak.figures import LONG, note

from hustings.cli.entry import main
from hustings.configuration import Job, compose
from hustings.errors import HustingsError

JOBS: tuple[Job, ...] = ("simulate", "train", "evaluate")
OPTIONS = {folder.name: sorted(it.stem for it in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()}
VALUES = (
    "0", "1", "-1", "2.5", "1e400", "nan", "-inf", "99999999999999999999", "true", "null", "''", "x", "thé", "~", "~/x",
    "[]", "[1,2]", "[[a]]", "{}", "{a:1}", "{a:{b:[c]}}", "'a b'", "a b", "${seed}", "${nowhere}", "${oc.env:NOPE}",
    "${", "$", "a,b", "1,2", "range(3)", "glob(*)", "choice(1,2)", "'{{ name'", "{{ name }}", "'{% for %}'", "???", "_",
    "/", "a=b", "\\", "\"", "'", "#", "@", "a: b", "- a", "racism", "republican", "default", "[racism]", "openai",
    "planted",
)  # fmt: skip
"""What settings are set to."""
PREFIXES = ("", "", "", "", "+", "++", "~")
MALFORMED = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(["=", "==", "a", "=1", "a=", "~", "~~a", "+", "++", "@a=1", "a@b", "a@=1", "topic@x=racism", "a.=1",
                     ".a=1", "a..b=1", "a[0]=1", "[a]=1", "{}", "hydra=1", "hydra.run=1", "hydra.job=null", "~hydra",
                     "hydra/launcher=x", "hydra.searchpath=[x]", "cast=x", "cast.x=1", "cast.republican.model=[a]",
                     "cast.republican.overrides=['']", "cast.republican.overrides=['=']", "~cast", "_target_=x",
                     "+_target_=os.getcwd", "engine._target_=x", "defaults=1", "~defaults", "~topics", "~engine"]),
)  # fmt: skip
"""Overrides that no grammar knows."""


def keys(plain: Any, before: str = "") -> list[str]:
    """Every dotted key of a config."""
    if not isinstance(plain, dict):
        return []
    return [key for name, it in plain.items() for key in (f"{before}{name}", *keys(it, f"{before}{name}."))]


PLAIN: dict[Job, Any] = {job: OmegaConf.to_container(config(name=job), resolve=False) for job in JOBS}
KEYS = {job: keys(plain) for job, plain in PLAIN.items()}
NUMBERS = {
    job: [key for key in KEYS[job] if type(OmegaConf.select(OmegaConf.create(plain), key, default=0)) is int]
    for job, plain in PLAIN.items()
}
"""Settings that are whole numbers."""


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[Job, list[str]]:
    """A job, and up to five overrides of it."""
    job = draw(st.sampled_from(JOBS))
    right = st.sampled_from([f"{group}={option}" for group in sorted(OPTIONS) for option in OPTIONS[group]])
    group = st.tuples(st.sampled_from(sorted(OPTIONS)), st.sampled_from(["nope", "null", "[]", "''", "[a,b]"]))
    key = st.tuples(st.sampled_from(PREFIXES), st.sampled_from(KEYS[job]), st.sampled_from(VALUES))
    small = st.sampled_from([*NUMBERS[job]]).flatmap(lambda name: st.integers(1, 3).map(lambda it: f"{name}={it}"))
    wrong = st.one_of(group.map("=".join), key.map(lambda it: f"{it[0]}{it[1]}={it[2]}"), MALFORMED)
    words = draw(st.lists(st.one_of(right, small), max_size=3)) + draw(
        st.lists(wrong, max_size=draw(st.integers(0, 2)))
    )
    return job, [word for word in draw(st.permutations(words)) if not word.startswith("-")]


def test_a_generated_command_line_is_settings_or_one_paragraph() -> None:
    ends: Counter[str] = Counter()

    @example(("simulate", ["seed=${nowhere}"]))
    @example(("simulate", ["cast=3"]))
    @example(("evaluate", ["comparison=null", "row=comparison"]))
    @given(command_lines())
    @settings(max_examples=2000 if LONG else 40, suppress_health_check=list(HealthCheck))
    def composed(line: tuple[Job, list[str]]) -> None:
        job, words = line
        try:
            compose(*words, job=job)
            ends["settings"] += 1
        except HustingsError as error:
            assert one_paragraph(str(error)), str(error)
            ends["refused"] += 1

    composed()
    said = f"{ends['settings']:,} are settings, {ends['refused']:,} refused in one paragraph; no traceback"
    note("generated command lines, composed", ends.total(), said)


def test_a_generated_command_line_ends_an_entry_point_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: Counter[int] = Counter()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    @given(command_lines())
    @settings(max_examples=400 if LONG else 6, suppress_health_check=list(HealthCheck))
    def run(line: tuple[Job, list[str]]) -> None:
        status = ended(["engine=planted", *line[1], "dry_run=true"])
        assert status in (0, 2)
        ends[status] += 1

    run()
    note(
        "generated command lines, run", ends.total(), f"{ends[0]:,} exit code 0, {ends[2]:,} exit code 2; no traceback"
    )


def ended(words: Sequence[str]) -> int:
    """The exit status of simulate.py in this process."""
    try:
        main("simulate", words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def one_paragraph(text: str) -> bool:
    """Whether a text is what a user should see."""
    return bool(text.strip()) and "\n" not in text and "Traceback" not in text


def test_the_generator_knows_every_group_and_many_keys() -> None:
    assert set(OPTIONS) == {it.name for it in Path(CONF).iterdir() if it.is_dir()}
    assert min(map(len, KEYS.values())) > 80
