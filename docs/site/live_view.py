"""The picture and the text of the live view on docs/howto/watch.md, from a run's log.

    python docs/site/live_view.py RUN

It replays the first debate of the run without its last round, and needs Chromium for the picture. Speed and time left
are those of the whole run, as its manifest has them.
"""

import io
import sys
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from hustings import load, records
from hustings.progress import duration
from hustings.records import Reply, Start, Survey
from hustings.settings import SimulateSettings
from hustings.simulation.watch import Watch

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, HEIGHT = 80, 40


def _work(events: list[Reply | Survey]) -> int:
    """How long events took, in survey answers: a reply counts as eight, as on the screen."""
    return sum(8 if isinstance(it, Reply) else 1 for it in events)


def main(run: Path) -> None:
    """Write live_view.txt and live_view.png."""
    from playwright.sync_api import sync_playwright

    study = load(run)
    events = list(records.read(run / "events.jsonl"))
    starts = [event for event in events if isinstance(event, Start)]
    said = [it for it in events if it.debate == starts[0].debate and isinstance(it, Reply | Survey)]
    last = max(it.iteration for it in said if isinstance(it, Survey))
    before = [it for it in said if isinstance(it, Survey) and it.iteration < last]
    rounds = said[: said.index(before[-1]) + 1]
    watch = Watch(SimulateSettings.model_validate(study.design), starts, {})
    for event in rounds:
        watch.on_event(event)
    played = study.manifest.played
    seconds, left = played["seconds"], played["seconds"] * (1 - _work(rounds) / _work(said))
    speed = f"{played['replies'] / seconds:.1f} replies/s · {played['tokens'] / seconds:.0f} tokens/s"
    shown = Group(watch, Text(f"debates 0/{len(starts)} · {speed} · {duration(left)} left"))
    console = Console(file=io.StringIO(), width=WIDTH, height=HEIGHT, record=True, force_terminal=True)
    console.print(shown)
    IMAGES.mkdir(exist_ok=True)
    html = console.export_html(inline_styles=True, clear=False)
    (IMAGES / "live_view.txt").write_text(console.export_text())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(viewport={"width": 1000, "height": 800}, device_scale_factor=2)
        page.set_content(f"<style>pre {{ display: inline-block; margin: 0; padding: 12px }}</style>{html}")
        page.locator("pre").screenshot(path=str(IMAGES / "live_view.png"))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
