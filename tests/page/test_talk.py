"""The stance of replies on the page: beside each of them, and listed where talk and survey part ways."""

from pathlib import Path

import pytest
from helpers import CHROMIUM
from judges import around, attitude, judged, rows_of
from playwright.sync_api import sync_playwright

from hustings import load, page
from hustings.engine.base import Request, Score
from hustings.page.talk import talk_of
from hustings.runfolder import REPORT

pytestmark = pytest.mark.browser


def contrary(request: Request) -> Score:
    """A judge to whom some replies say the opposite of what their speakers answer."""
    if request.seed % 3 == 0:
        return Score(None, "none", 1, 1)
    return around((-0.6 if request.seed % 3 == 1 else 0.6) * (attitude(request) - 5))


def test_stances_are_beside_replies_and_disagreements_are_marked_and_listed(finished: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, finished / "run", contrary, "exchanged=false")
    page.write([run], run / REPORT)
    found = talk_of(load(run))
    assert 0 < found.apart < found.rated == 54
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown = browser.new_context(offline=True).new_page()
        said: list[str] = []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto((run / REPORT).as_uri())
        shown.wait_for_selector("html[data-ready]")
        assert f"{found.apart} of 54 replies that stub rated" in shown.locator("#talk").inner_text()
        assert shown.locator("#parted li").count() == found.apart
        assert "says −" in shown.locator("#parted li").all_inner_texts()[0]
        shown.locator("#parted a").first.click()
        here = shown.locator(".reply.here")
        assert here.locator(".stance.parted").count() == 1
        assert "says one thing and answers another" in here.inner_text()
        badges = set(shown.locator("#debate .stance").all_inner_texts())
        assert shown.locator("#debate .stance").count() == 9
        assert "no stance" in badges
        assert "Stance as stub rates it: −3 = not a problem at all" in str(
            shown.locator("#debate .stance").first.get_attribute("title")
        )
        assert said == []
        browser.close()


def test_a_page_of_a_run_that_nobody_judged_says_nothing_of_talk(finished: Path) -> None:
    assert rows_of(finished / "run", "stance").empty
    assert 'id="talk"' not in (finished / "run" / REPORT).read_text(encoding="utf-8")
