"""The event log: what is appended is read back, and a kill costs half a line at most."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hustings.errors import RecordError
from hustings.files import JsonLines
from hustings.records import (
    AGENTS,
    ATTITUDES,
    REPLIES,
    Agent,
    End,
    Event,
    Reply,
    Start,
    Survey,
    merge,
    read,
    tables,
)

text = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.sampled_from(["racism/rep_dem/0000", "racism/rep_dem/0001"])
places = st.lists(st.integers(0, 7), max_size=3).map(tuple)
agents = st.builds(
    Agent,
    role=text,
    persona=text,
    name=text,
    story=text,
    speaks=st.booleans(),
    surveyed=st.sampled_from(["always", "first", "never"]),
    hears=st.just("all") | places,
    runs_on=text,
)
finite = st.floats(-1000, 10)
events = st.one_of(
    st.builds(
        Start,
        debate=keys,
        agents=st.lists(agents, max_size=3).map(tuple),
        first=st.integers(0, 7),
        topology=text,
        control=text,
        treatments=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(
        Survey,
        debate=keys,
        iteration=st.integers(0, 40),
        agent=st.integers(0, 7),
        item=text,
        wording=st.integers(0, 5),
        value=st.none() | finite,
        expected=st.none() | finite,
        logprobs=st.none() | st.lists(st.none() | finite, max_size=3).map(tuple),
        mass=st.none() | st.floats(0, 1),
        valid=st.booleans(),
        raw=text,
    ),
    st.builds(
        Reply,
        debate=keys,
        iteration=st.integers(1, 40),
        agent=st.integers(0, 7),
        text=text,
        full=st.none() | text,
        tokens=st.integers(0, 999),
        finish=st.sampled_from(["stop", "length", "empty"]),
    ),
    st.builds(End, debate=keys),
)


def write(path: Path, these: list[Event]) -> None:
    log = JsonLines(path)
    for event in these:
        log.append(event.model_dump_json())
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
    '{"v":2,"kind":"start","debate":"racism/rep_dem_default/0007","agents":[{"role":"republican","persona":'
    '"republican/07","name":"Ann","story":"You.","speaks":true,"surveyed":"always","hears":[1],'
    '"runs_on":"tiny on openvino"}],"first":1,"topology":"ring","control":"none","treatments":["reminder"]}',
    '{"v":2,"kind":"survey","debate":"racism/rep_dem_default/0007","iteration":0,"agent":0,"item":"severity",'
    '"wording":0,"value":3.0,"expected":3.41,"logprobs":[-0.5,null],"mass":0.98,"valid":true,"raw":"3"}',
    '{"v":2,"kind":"reply","debate":"racism/rep_dem_default/0007","iteration":1,"agent":1,"text":"Hm.","tokens":57,'
    '"finish":"stop"}',
    '{"v":2,"kind":"reply","debate":"racism/rep_dem_default/0007","iteration":1,"agent":1,"text":"Hm.","full":"Hm. So",'
    '"tokens":57,"finish":"length"}',
    '{"v":2,"kind":"end","debate":"racism/rep_dem_default/0007"}',
]


def test_version_2_lines_are_read_and_written_as_they_always_were(tmp_path: Path) -> None:
    path, copy = tmp_path / "golden.jsonl", tmp_path / "copy.jsonl"
    path.write_text("\n".join(GOLDEN) + "\n")
    write(copy, list(read(path)))
    assert copy.read_text().splitlines() == GOLDEN


@pytest.mark.parametrize("line", ["", "{", "[]", '{"v":2,"kind":"fin","debate":"a"}', '{"v":2,"kind":"end"}'])
def test_a_line_that_is_no_event_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([GOLDEN[0], line, GOLDEN[4]]) + "\n")
    with pytest.raises(RecordError, match=r"events\.jsonl, line 2: this is not an event of version 2 .*; restore"):
        list(read(path))


@pytest.mark.parametrize("version", [1, 3])
def test_a_log_of_another_version_says_so(tmp_path: Path, version: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(f'{{"v":{version},"kind":"end","debate":"a"}}\n')
    with pytest.raises(RecordError, match=rf"another version of Hustings wrote this log \(v={version}, not v=2\)"):
        list(read(path))


SEAT = Agent(role="default", persona="default", name="A", story="s")
START = Start(debate="racism/x/0002", agents=(SEAT,), first=0)


def answer(iteration: int, value: float | None) -> Survey:
    return Survey(
        debate="racism/x/0002",
        iteration=iteration,
        agent=0,
        item="severity",
        wording=0,
        value=value,
        expected=None if value is None else value + 0.25,
        logprobs=None,
        mass=None,
        valid=value is not None,
        raw="-1" if value is None else "0",
    )


def test_an_invalid_answer_is_an_empty_score_in_the_table() -> None:
    table, _, _ = tables([START, answer(9, None), answer(0, 0.0)], "m", "", 5)
    assert list(table.columns) == ATTITUDES
    assert table.to_csv(index=False).splitlines()[1:] == [
        "racism,x,2,0,default,default,0,severity,0,0.0,0.25,,True,0,m,,5",
        "racism,x,2,0,default,default,9,severity,0,,,,False,-1,m,,5",
    ]


def test_replies_and_agents_are_tables_too() -> None:
    said = Reply(debate="racism/x/0002", iteration=1, agent=0, text="a, b", full="a, b c", tokens=3, finish="length")
    _, replies, agents = tables([START, said], "m", "", 5)
    assert replies.to_csv(index=False).splitlines() == [
        ",".join(REPLIES),
        'racism,x,2,0,default,default,A,1,"a, b","a, b c",3,length',
    ]
    assert agents.to_csv(index=False).splitlines() == [
        ",".join(AGENTS),
        "racism,x,2,0,default,default,A,s,True,always,0,all,,round_robin,none,,",
    ]


def test_tables_of_nothing_have_their_columns() -> None:
    for table, columns in zip(tables([], "m", "", 1), (ATTITUDES, REPLIES, AGENTS), strict=True):
        assert table.to_csv(index=False).strip() == ",".join(columns)


@given(events)
def test_a_line_is_one_json_object_with_its_version_first(event: Event) -> None:
    line = event.model_dump_json()
    assert "\n" not in line
    assert next(iter(json.loads(line))) == "v"


def test_logs_that_were_half_merged_are_merged_without_loss_or_repetition(tmp_path: Path) -> None:
    events = [START, *(answer(place, 1.0) for place in range(20)), End(debate="racism/x/0002")]
    main, first, second = (tmp_path / name for name in ("events.jsonl", "events.rank0.jsonl", "events.rank1.jsonl"))
    write(main, events[:15])
    write(first, events[:11])
    write(second, events[11:])
    for path in (main, second):
        path.write_text(path.read_text() + '{"v":2,"ki')
    merge(main, [first, second])
    assert list(read(main)) == events
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
