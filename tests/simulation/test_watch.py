"""The debate that a terminal shows while a run plays."""

import io
from pathlib import Path

from rich.console import Console

from hustings import compose, records
from hustings.records import End, Reply, Start
from hustings.simulation.job import run
from hustings.simulation.watch import Watch


def test_a_debate_is_shown_as_it_is_spoken_with_attitudes_after_each_round(tmp_path: Path) -> None:
    settings = compose("engine=planted", "topic=racism", "repetitions=2", f"artifacts={tmp_path / 'store'}")
    run(settings, tmp_path / "run", [])
    events = list(records.read(tmp_path / "run" / "events.jsonl"))
    starts = [event for event in events if isinstance(event, Start)]
    screen = io.StringIO()
    console = Console(file=screen, width=200, height=200, force_terminal=True, color_system="truecolor")
    watch = Watch(settings, {})
    console.print(watch)
    assert not screen.getvalue().strip()
    first = [event for event in events if event.debate == starts[0].debate]
    for event in first[:-1]:
        watch.on_event(event)
    console.print(watch)
    shown = screen.getvalue()
    for event in first:
        if isinstance(event, Reply):
            assert event.text.split()[0] in shown
    assert "A debate on racism, repetition 1" in shown
    assert "38;2;200;16;46m" in shown  # the Republicans' colour
    lines = [line for line in shown.splitlines() if "shadow" in line]
    assert len(lines) == settings.rounds + 1
    watch.on_event(first[-1])
    assert isinstance(first[-1], End)
    screen.truncate(0)
    for event in events:
        if event.debate == starts[1].debate and not isinstance(event, End):
            watch.on_event(event)
    console.print(watch)
    assert "repetition 2" in screen.getvalue()


def test_a_small_terminal_shows_the_end_of_the_debate(tmp_path: Path) -> None:
    settings = compose("engine=planted", "topic=racism", "repetitions=1", f"artifacts={tmp_path / 'store'}")
    run(settings, tmp_path / "run", [])
    events = list(records.read(tmp_path / "run" / "events.jsonl"))
    watch = Watch(settings, {})
    for event in events[:-1]:
        watch.on_event(event)
    screen = io.StringIO()
    Console(file=screen, width=80, height=10, force_terminal=True).print(watch)
    lines = screen.getvalue().splitlines()
    assert len(lines) <= 8
    assert "shadow" in lines[-2] + lines[-1]
