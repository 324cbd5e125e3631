"""The event log: what is appended is read back, and a kill costs half a line at most."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustings.errors import ArtifactError, RecordError
from hustings.records import ATTITUDES, Agent, End, Log, Reply, Start, Survey, attitudes, read

Event = Start | Survey | Reply | End

text = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.sampled_from(["racism/rep_dem/0000", "racism/rep_dem/0001"])
agents = st.builds(Agent, role=text, persona=text, name=text, story=text, speaks=st.booleans())
finite = st.floats(0, 10)
events = st.one_of(
    st.builds(Start, debate=keys, agents=st.lists(agents, max_size=3).map(tuple), first=st.integers(0, 7)),
    st.builds(
        Survey,
        debate=keys,
        iteration=st.integers(0, 40),
        agent=st.integers(0, 7),
        score=st.none() | st.integers(0, 10),
        expected=st.none() | finite,
        valid=st.booleans(),
        raw=text,
    ),
    st.builds(
        Reply,
        debate=keys,
        iteration=st.integers(1, 40),
        agent=st.integers(0, 7),
        text=text,
        tokens=st.integers(0, 999),
        finish=st.sampled_from(["stop", "length", "empty"]),
    ),
    st.builds(End, debate=keys),
)


def write(path: Path, these: list[Event]) -> None:
    log = Log(path)
    for event in these:
        log.append(event)
    log.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    folder, count = tmp_path_factory.mktemp("logs"), iter(range(10**6))
    return lambda: folder / f"{next(count)}.jsonl"


@given(st.lists(events, max_size=8), st.lists(events, max_size=4))
def test_events_are_read_back_as_appended_over_any_number_of_openings(
    fresh: Callable[[], Path], first: list[Event], then: list[Event]
) -> None:
    path = fresh()
    write(path, first)
    write(path, then)
    assert list(read(path)) == first + then
    assert path.read_bytes().count(b"\n") == len(first + then)


@given(st.lists(events, min_size=1, max_size=4), events, st.data())
def test_a_log_cut_anywhere_loses_half_a_line_at_most_and_can_be_gone_on_with(
    fresh: Callable[[], Path], before: list[Event], after: Event, data: st.DataObject
) -> None:
    path = fresh()
    write(path, before)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    kept = before[: content[:cut].count(b"\n")]
    assert list(read(path)) == kept
    write(path, [after])
    assert list(read(path)) == [*kept, after]


def test_every_cut_of_one_log_leaves_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    these: list[Event] = [
        Start(debate="a/b/0000", agents=(Agent(role="r", persona="r/00", name="Zoë", story="“ ”\n"),), first=0),
        Reply(debate="a/b/0000", iteration=1, agent=0, text="naïve\n🗳", tokens=3, finish="stop"),
        End(debate="a/b/0000"),
    ]
    write(path, these)
    content = path.read_bytes()
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        write(path, [these[2]])
        assert list(read(path)) == [*these[: content[:cut].count(b"\n")], these[2]]


def test_a_half_line_longer_than_a_block_is_dropped_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [End(debate="a/b/0000")])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    write(path, [End(debate="a/b/0001")])
    assert [event.debate for event in read(path)] == ["a/b/0000", "a/b/0001"]


GOLDEN = [
    '{"v":1,"kind":"start","debate":"racism/rep_dem_default/0007","agents":[{"role":"republican","persona":'
    '"republican/07","name":"Ann","story":"You.","speaks":true}],"first":1}',
    '{"v":1,"kind":"survey","debate":"racism/rep_dem_default/0007","iteration":0,"agent":0,"score":3,"expected":3.41,'
    '"valid":true,"raw":"3"}',
    '{"v":1,"kind":"reply","debate":"racism/rep_dem_default/0007","iteration":1,"agent":1,"text":"Hm.","tokens":57,'
    '"finish":"stop"}',
    '{"v":1,"kind":"end","debate":"racism/rep_dem_default/0007"}',
]


def test_version_1_lines_are_read_and_written_as_they_always_were(tmp_path: Path) -> None:
    path, copy = tmp_path / "golden.jsonl", tmp_path / "copy.jsonl"
    path.write_text("\n".join(GOLDEN) + "\n")
    write(copy, list(read(path)))
    assert copy.read_text().splitlines() == GOLDEN


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"v":2,"kind":"end","debate":"a"}', '{"v":1,"kind":"fin","debate":"a"}', '{"v":1,"kind":"end"}'],
)
def test_a_line_that_is_no_event_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([GOLDEN[0], line, GOLDEN[3]]) + "\n")
    with pytest.raises(RecordError, match=r"events\.jsonl, line 2: this is no event of version 1 .*; restore the file"):
        list(read(path))


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere/events\.jsonl: .*No such file"):
        Log(tmp_path / "nowhere" / "events.jsonl")


def test_an_invalid_answer_is_an_empty_score_in_the_table(tmp_path: Path) -> None:
    start = Start(
        debate="racism/x/0002", agents=(Agent(role="default", persona="default", name="A", story="s"),), first=0
    )
    answers = [
        Survey(debate="racism/x/0002", iteration=9, agent=0, score=None, expected=None, valid=False, raw="-1"),
        Survey(debate="racism/x/0002", iteration=0, agent=0, score=0, expected=0.25, valid=True, raw="0"),
    ]
    table = attitudes([start, *answers], "m", "", 5)
    assert list(table.columns) == ATTITUDES
    assert table.to_csv(index=False).splitlines()[1:] == [
        "racism,x,2,0,default,default,0,0,0.25,True,m,,5",
        "racism,x,2,0,default,default,9,,,False,m,,5",
    ]


def test_a_table_of_nothing_has_its_columns() -> None:
    assert attitudes([], "m", "", 1).to_csv(index=False).strip() == ",".join(ATTITUDES)


@given(events)
def test_a_line_is_one_json_object_with_its_version_first(event: Event) -> None:
    line = event.model_dump_json()
    assert "\n" not in line
    assert next(iter(json.loads(line))) == "v"
