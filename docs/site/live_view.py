"""The picture and the text of the live view on docs/howto/watch.md, from a run's log.

    python docs/site/live_view.py RUN

It replays the first debate of the run up to its last round, and needs Chromium for the picture.
"""

import io
import sys
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from hustings import load, records
from hustings.records import End, Start
from hustings.settings import SimulateSettings
from hustings.simulation.watch import Watch

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, HEIGHT = 100, 34


def main(run: Path) -> None:
    """Write live_view.txt and live_view.png."""
    from playwright.sync_api import sync_playwright

    study = load(run)
    settings = SimulateSettings.model_validate(study.design)
    events = list(records.read(run / "events.jsonl"))
    starts = [event for event in events if isinstance(event, Start)]
    watch = Watch(settings, starts, {})
    for event in events:
        if event.debate == starts[0].debate and not isinstance(event, End):
            watch.on_event(event)
    spent = study.manifest.spent
    replies, tokens = (spent[name] / spent["seconds"] for name in ("replies", "tokens"))
    shown = Group(watch, Text(f"debates 0/{len(starts)} · {replies:.1f} replies/s · {tokens:.0f} tokens/s"))
    console = Console(file=io.StringIO(), width=WIDTH, height=HEIGHT, record=True, force_terminal=True)
    console.print(shown)
    IMAGES.mkdir(exist_ok=True)
    html = console.export_html(inline_styles=True, clear=False)
    (IMAGES / "live_view.txt").write_text(console.export_text())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        page = browser.new_page(viewport={"width": 1100, "height": 700}, device_scale_factor=2)
        page.set_content(f"<body style='margin:12px;background:#fff'>{html}</body>")
        page.locator("pre").screenshot(path=str(IMAGES / "live_view.png"))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
