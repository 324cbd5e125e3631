"""The report in Chromium, opened from disk with the network cut: what a reader can do, and what text cannot."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import CHROMIUM, LIKERT, cli, large, leave, report, simulate, tuned
from playwright.sync_api import Browser, Page, expect, sync_playwright

from hustings import page, records
from hustings.report import run as reporting
from hustings.report import together
from hustings.runfolder import FIGURES, REPORT, STATISTICS, RunManifest, read_manifest
from hustings.study import Study, load

pytestmark = pytest.mark.browser
HOSTILE = [
    "<script>document.title='gone'</script><img src=x onerror=\"document.title='gone'\">",
    "</script><script>document.title='gone'</script>",
    "]]><!-- <style>body{display:none}</style> {{ 7*7 }} &lt;b&gt; \u2028 \u2029",
    "emoji 👩🏽‍🚀 and מימין לשמאל and العربية",
    "w" * 10_000,
    "a\x00b\x07c\x1b[31m d\x7fe\x9ff \u202egnp.exe",
    "javascript:alert(1) https://example.com/pixel.png",
]
SHOWN = {"\x00": "⟨U+0000⟩", "\x07": "⟨U+0007⟩", "\x1b": "⟨U+001B⟩", "\x7f": "⟨U+007F⟩", "\x9f": "⟨U+009F⟩",
         "\u202e": "⟨U+202E⟩"}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted run with statistics, whose first debate says hostile things and refuses an answer."""
    folder = tmp_path_factory.mktemp("page")
    simulate(folder, "repetitions=6", "topic=[racism,gun_violence]")
    run = folder / "run"
    events = list(records.read(run / "events.jsonl"))
    texts = iter(HOSTILE)
    for place, event in enumerate(events):
        if event.debate != "racism/rep_dem_default/0000":
            continue
        if isinstance(event, records.Reply):
            events[place] = event.model_copy(update={"text": next(texts, event.text)})
        if isinstance(event, records.Survey) and event.iteration == 9:
            update = {"value": None, "expected": None, "valid": False, "raw": f"I refuse. {HOSTILE[1]}"}
            events[place] = event.model_copy(update=update)
    leave(events, run, read_manifest(run, RunManifest))
    reporting.write(load(run), run / STATISTICS, run / FIGURES)
    shutil.copy(run / FIGURES / "forest.png", tuned(run, HOSTILE[0] + HOSTILE[1]) / "adapter" / "loss.png")
    page.write([run], run / REPORT)
    return run


class Watched:
    """A page that remembers what it complained of and what it asked the network for."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.file = file

    def open(self, at: str = "") -> Page:
        self.page.goto(self.file.as_uri() + at)
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def quiet(self) -> None:
        assert self.said == []
        assert [url for url in self.asked if not url.startswith((self.file.as_uri(), "data:"))] == []


@pytest.fixture
def watched(browser: Browser, run: Path) -> Iterator[Watched]:
    watched = Watched(browser, run / REPORT)
    yield watched
    watched.quiet()
    watched.context.close()


def test_pointing_at_a_curve_shows_n_mean_and_standard_error(watched: Watched) -> None:
    shown = watched.open()
    chart = shown.locator(".chart").first
    chart.hover(position={"x": 60, "y": 100})
    readout = chart.locator(".readout")
    assert readout.locator("caption").inner_text() == "Iteration 0"
    assert readout.locator("tr").count() == 4
    assert "shadow Default (listens, never speaks)" in readout.inner_text()
    assert "n = 6" in readout.inner_text()
    assert "±" in readout.inner_text()
    box = chart.bounding_box()
    assert box
    chart.hover(position={"x": box["width"] - 20, "y": 100})
    assert readout.locator("caption").inner_text() == "Iteration 9"


def test_curves_are_read_by_keyboard_and_announced_to_screen_readers(watched: Watched) -> None:
    shown = watched.open()
    chart = shown.locator(".chart").first
    chart.focus()
    shown.keyboard.press("ArrowRight")
    said = chart.get_attribute("aria-valuetext")
    assert said
    assert said.startswith("iteration 3: Republican ")
    assert "6 debates" in said
    shown.keyboard.press("End")
    assert chart.get_attribute("aria-valuenow") == "9"


def test_roles_topics_outcomes_and_single_debates_are_switched(watched: Watched) -> None:
    shown = watched.open()
    assert (shown.locator(".panel").count(), shown.locator(".curve:not(.swatch .curve)").count()) == (2, 8)
    shown.get_by_label("Democrat").uncheck()
    assert shown.locator(".panel .curve").count() == 6
    shown.get_by_role("checkbox", name="gun violence").uncheck()
    assert (shown.locator(".panel").count(), shown.locator(".panel .curve").count()) == (1, 3)
    assert shown.locator(".single").count() == 0
    shown.get_by_label("single debates").check()
    assert shown.locator(".single").count() == 18
    before = shown.locator(".panel .curve").first.get_attribute("d")
    assert shown.get_by_label("expected value (mean over the options' probabilities)").is_checked()
    shown.get_by_label("chosen option (the paper's score)").check()
    assert shown.locator(".panel .curve").first.get_attribute("d") != before
    shown.locator(".single").first.dispatch_event("click")
    assert "#debate=" in shown.url


def test_both_outcomes_are_drawn_and_in_the_numbers_by_name(watched: Watched) -> None:
    shown = watched.open()
    shown.get_by_label("the other one beside it").check()
    panel = shown.locator(".panel").first
    assert (panel.locator(".curve").count(), panel.locator(".curve.beside").count()) == (8, 4)
    assert panel.locator(".band").count() == 4
    panel.locator(".chart").focus()
    assert "Republican, chosen option" in panel.locator(".readout").inner_text()
    panel.locator("summary").click()
    numbers = panel.locator("details table")
    assert numbers.locator("thead th").all_inner_texts() == [
        "role", "iteration", "n", "mean expected value", "standard error", "mean chosen option", "standard error"
    ]  # fmt: skip
    assert numbers.locator("tbody tr").count() == 4 * 4


def test_the_shadow_default_is_dashed_and_grey_and_no_speaker(watched: Watched) -> None:
    shown = watched.open()
    dashed = shown.locator(".panel").first.locator(".curve[stroke-dasharray]")
    assert dashed.count() == 1
    assert "listens" in (dashed.get_attribute("class") or "")
    assert dashed.evaluate("it => it.parentElement.style.getPropertyValue('--role')") == "#80868b"
    survey = shown.locator(".survey").first
    assert survey.locator("li").count() == survey.locator(".track").count() == 3
    last = survey.locator(".listening")
    assert last.inner_text().startswith("Shadow Default (listens, never speaks)")
    assert last.locator("svg").count() == 0
    said = shown.locator(".personas details").last.locator("summary").inner_text()
    assert said.endswith("shadow Default (listens, never speaks)")
    assert shown.locator("#reader-debate option").first.inner_text().count(",") == 2


def test_a_debate_is_found_by_search_and_by_its_link(watched: Watched) -> None:
    shown = watched.open()
    shown.locator("#search").fill("MIMIN")
    assert "0 replies" in shown.locator("#found").inner_text()
    shown.locator("#search").fill("emoji 👩🏽‍🚀")
    assert shown.locator("#found").inner_text() == "1 reply and 0 personas with “emoji 👩🏽‍🚀”"
    shown.locator("#results a").first.click()
    reply = shown.locator(".reply.here")
    assert reply.locator("mark").inner_text() == "emoji 👩🏽‍🚀"
    assert reply.get_attribute("id") == "iteration-4"
    assert shown.url.endswith("/racism/rep_dem_default/0000/4")
    link = "#" + shown.url.partition("#")[2].replace("/0000/4", "/0003/2")
    other = watched.open("?again" + link)
    assert other.locator(".reply.here").get_attribute("id") == "iteration-2"
    assert other.locator("#reader-debate").input_value() == "racism/rep_dem_default/0003"
    other.locator("#next").click()
    assert other.locator("#debate > h3").inner_text() == "Racism, debate 4"


def test_attitudes_stand_beside_the_replies_after_which_they_were_asked(watched: Watched, run: Path) -> None:
    (debate,) = {
        it.debate for it in records.read(run / "events.jsonl") if it.debate.endswith("racism/rep_dem_default/0002")
    } or {""}
    shown = watched.open()
    shown.locator("#reader-topic").select_option("racism")
    shown.locator("#reader-debate").select_option(debate)
    assert shown.locator(".survey h4").all_inner_texts() == [
        "Attitudes before the debate", *(f"Attitudes after reply {at}" for at in (3, 6, 9))]  # fmt: skip
    answers = (it for it in records.read(run / "events.jsonl") if isinstance(it, records.Survey))
    asked = [it for it in answers if it.debate == debate and it.iteration == 6]
    beside = shown.locator(".survey").nth(2)
    assert beside.locator("b").all_inner_texts() == [f"{round(it.expected or 0, 2):g}" for it in asked]
    assert [it.strip() for it in beside.locator("small").all_inner_texts()] == [f"({it.value:g})" for it in asked]
    assert "in brackets the chosen option (the paper's score)" in shown.locator("#debate > .note").inner_text()
    third = [shown.locator(where).bounding_box() for where in ("#iteration-4", "#iteration-6", ".survey >> nth=2")]
    first, last, survey = (box["y"] if box else 0 for box in third)
    assert first < survey < last + 60


def test_hostile_text_is_shown_as_text_and_does_nothing(watched: Watched) -> None:
    shown = watched.open()
    shown.locator("#reader-topic").select_option("racism")
    title = shown.title()
    for place, text in enumerate(HOSTILE):
        want = "".join(SHOWN.get(letter, letter) for letter in text)
        assert shown.locator(".reply .text").nth(place).evaluate("it => it.textContent") == want
    for word in ("<script>", "</script>", "onerror", "wwww"):
        shown.locator("#search").fill(word)
        assert shown.locator("#results li").count() > 0
    shown.locator("#invalid summary").click()
    assert shown.locator("#refusals q").first.inner_text() == f"I refuse. {HOSTILE[1]}"
    assert shown.locator(".survey em").count() == 4
    assert shown.locator("#debate script, #debate img, #debate style, #results img").count() == 0
    assert shown.title() == title
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_how_the_adapter_was_trained_is_shown_and_its_card_is_text(watched: Watched) -> None:
    shown = watched.open()
    losses = shown.get_by_role("region", name="Loss on held-out answers of republican_nwp_r8_s1-0123456789ab")
    assert losses.locator("tbody tr").all_inner_texts() == ["base\t3.520\t3.600", "this adapter\t3.400\t3.600"]
    assert shown.locator("#training img").evaluate("it => it.complete && it.naturalWidth > 100")
    shown.locator("#training summary", has_text="Every step").click()
    assert shown.get_by_role("region", name="Every step").locator("tbody tr").count() == 2
    shown.locator("#training summary", has_text="Model card").click()
    assert shown.locator(".card").inner_text() == HOSTILE[0] + HOSTILE[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_trainings_is_accessible_and_asks_for_nothing(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    runs = [tuned(tmp_path / name, HOSTILE[1]) for name in ("0", "1")]
    for target, folders, heading in (
        (tmp_path / "0" / REPORT, runs[:1], "tiny was fine-tuned towards Republican views"),
        (tmp_path / REPORT, runs, "2 trainings compared"),
    ):
        page.write_trainings(folders, target)
        watched = Watched(browser, target, color_scheme=scheme, viewport={"width": width, "height": 800})
        watched.page.goto(target.as_uri())
        assert watched.page.locator("h1").inner_text().startswith(heading)
        watched.page.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
        found = Axe().run(watched.page).response["violations"]
        assert [(it["id"], it["nodes"][0]["html"]) for it in found if it["impact"] in ("serious", "critical")] == []
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        watched.page.get_by_role("button", name="Theme: system").click()
        assert watched.page.get_by_role("button", name="Theme: light").count() == 1
        watched.quiet()
        watched.context.close()


def test_statistics_are_filtered_in_their_groups(watched: Watched) -> None:
    shown = watched.open()
    rows = shown.locator("table.statistics tbody tr:not(.about):visible")
    groups = shown.locator("details.family:visible > summary")
    every = rows.count()
    assert groups.all_inner_texts() == ["Primary", "Secondary", "The paper's reading", "Descriptive"]
    shown.locator("#statistic").select_option("closing")
    assert groups.all_inner_texts() == ["Primary", "The paper's reading"]
    assert rows.count() == 8 < every
    about = shown.locator("tr.about:visible").first.inner_text()
    head, table = (shown.locator(it).first.bounding_box() for it in ("tr.about:visible th", "table.statistics:visible"))
    assert head and table and head["width"] == pytest.approx(table["width"], abs=1)
    assert about == "closing Did the agent end nearer to what the model itself thinks then?"
    shown.locator("#statistics-find").fill("democrat racism")
    assert rows.count() == 2
    assert "Democrat agents ended" in rows.first.inner_text()
    shown.locator("#statistics-find").fill("")
    shown.locator("#statistic").select_option("")
    assert rows.count() == every


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_violation_and_nothing_overflows(
    browser: Browser, run: Path, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = Watched(browser, run / REPORT, color_scheme=scheme, viewport={"width": width, "height": 800})
    shown = watched.open()
    shown.locator("#search").fill("problem")
    shown.locator(".chart").first.focus()
    shown.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
    found = Axe().run(shown).response["violations"]
    assert [(it["id"], it["nodes"][0]["html"]) for it in found if it["impact"] in ("serious", "critical")] == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    watched.quiet()
    watched.context.close()


def test_the_finding_is_on_top_in_three_sentences(watched: Watched) -> None:
    shown = watched.open()
    assert shown.locator("h1").inner_text() == "Debates on gun violence and racism"
    moved, sure, then = shown.locator(".finding p").all_inner_texts()
    assert moved.startswith("Across 2 topics, agents ended nearer to the model's own attitude than they began in ")
    assert sure.startswith("With ")
    assert "control=none,retest" in then


def test_the_shadow_default_is_drawn_dashed_and_has_a_name(watched: Watched) -> None:
    shown = watched.open()
    panel = shown.locator(".panel").first
    assert panel.locator(".curve.listens").count() == 1
    assert panel.locator(".curve.listens").get_attribute("stroke-dasharray") == "5 4"
    assert panel.locator(".curve:not(.listens)").evaluate_all(
        "all => all.every(it => !it.hasAttribute('stroke-dasharray'))"
    )
    stroke = panel.locator(".curve.listens").evaluate("it => getComputedStyle(it).stroke")
    assert stroke != shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (
        shown.locator("#curve-controls label", has_text="shadow Default").locator("line[stroke-dasharray]").count() == 1
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_a_page_that_grows_is_read_while_the_run_plays(browser: Browser, run: Path, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    study, target = load(run), run.parent / f"{scheme}.html"
    kept = [table[table["repetition"] < 4] for table in (study.attitudes, study.replies, study.agents)]
    with page.growing(target) as draw:
        draw(Study(run.parent, study.manifest, *kept), 7, 12)
    watched = Watched(browser, target, color_scheme=scheme, viewport={"width": width, "height": 800})
    shown = watched.open()
    assert (
        shown.locator("header .so-far").inner_text().startswith("So far: 7 of 12 debates; this page is written again")
    )
    assert shown.locator("meta[http-equiv=refresh]").get_attribute("content") == "60"
    assert shown.locator("table.statistics, .finding").count() == 0
    assert shown.locator(".panel .curve").count() == 8
    assert shown.locator(".reply").count() == 9
    renewing = {"rules": {"meta-refresh": {"enabled": False}}}  # it is what this page is for
    found = Axe().run(shown, options=renewing).response["violations"]
    assert [(it["id"], it["nodes"][0]["html"]) for it in found if it["impact"] in ("serious", "critical")] == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    watched.quiet()
    watched.context.close()


def test_the_theme_is_switched(watched: Watched) -> None:
    shown = watched.open()
    paper = "getComputedStyle(document.body).backgroundColor"
    assert shown.evaluate(paper) == "rgb(255, 255, 255)"
    shown.get_by_role("button", name="Theme: system").click()
    shown.get_by_role("button", name="Theme: light").click()
    assert shown.evaluate(paper) == "rgb(21, 23, 26)"


def test_several_runs_are_compared(browser: Browser, run: Path, tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", "seed=2")
    both = page.write([run, tmp_path / "run"], tmp_path / REPORT)
    watched = Watched(browser, both)
    shown = watched.open()
    assert shown.locator("#runs tbody tr").count() == 2
    racism = shown.locator(".panel[aria-label=racism] .curve")
    assert racism.count() == 8
    assert shown.locator(".panel[aria-label=racism] .curve:not([stroke-dasharray])").count() == 3
    shown.locator("fieldset", has_text="Runs").get_by_label("seed 2").uncheck()
    assert racism.count() == 4
    shown.locator("#reader-run").select_option("1")
    assert shown.locator("#reader-debate option").count() == 3
    watched.quiet()
    watched.context.close()


def test_items_and_who_hears_whom_are_shown_and_accessible(browser: Browser, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    four = ("composition.roles=[republican,democrat,republican,democrat]", "composition.observers=[default]")
    simulate(tmp_path, "repetitions=2", "topic=racism", "topology=ring", *four, *LIKERT)
    run = tmp_path / "run"
    events = list(records.read(run / "events.jsonl"))
    place = next(i for i, it in enumerate(events) if isinstance(it, records.Survey) and it.debate.endswith("/0000"))
    update = {"value": None, "expected": None, "valid": False, "raw": HOSTILE[0]}
    events[place] = events[place].model_copy(update=update)
    leave(events, run, read_manifest(run, RunManifest))
    for width in (390, 1280):
        watched = Watched(browser, report(tmp_path), viewport={"width": width, "height": 800})
        shown = watched.open()
        assert shown.locator(".panel .axis").first.locator("text").all_text_contents() == ["1", "2", "3", "4", "5"]
        assert "1 = not a problem at all, 5 = a very big problem" in (shown.locator(".panel svg").text_content() or "")
        shown.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
        facts = shown.locator(".personas .flag").all_inner_texts()
        names = [persona.inner_text() for persona in shown.locator(".personas .tag").all()]
        assert facts[0].endswith(f"hears {names[1]}, {names[3]}")
        assert facts[4].endswith("hears everybody")
        survey = shown.locator(".survey").first
        assert survey.locator("em").all_inner_texts() == ["invalid", "invalid"]
        items = survey.locator(".items p").all_inner_texts()
        assert len(items) == 6
        assert HOSTILE[0] in "".join(items)
        assert "strongly" in "".join(items)
        assert shown.locator("#refusals li").first.inner_text().count(HOSTILE[0]) == 1
        found = Axe().run(shown).response["violations"]
        assert [(it["id"], it["nodes"][0]["html"]) for it in found if it["impact"] in ("serious", "critical")] == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        watched.quiet()
        watched.context.close()


def test_runs_on_different_scales_share_an_axis_that_covers_both(
    browser: Browser, finished: Path, tmp_path: Path
) -> None:
    simulate(tmp_path, "repetitions=2", "topic=racism", *LIKERT)
    watched = Watched(browser, page.write([tmp_path / "run", finished / "run"], tmp_path / REPORT))
    shown = watched.open()
    assert shown.locator(".panel .axis").first.locator("text").all_text_contents() == ["0", "2", "4", "6", "8", "10"]
    assert "low = not a problem at all, high = a very big problem" in (shown.locator(".panel svg").text_content() or "")
    assert shown.locator(".ends").first.inner_text().startswith("1 ")
    shown.locator("#reader-run").select_option("1")
    assert shown.locator(".ends").first.inner_text().startswith("0 ")
    watched.quiet()
    watched.context.close()


def test_a_sweep_over_controls_is_read_on_one_page(browser: Browser, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    runs: list[Path] = []
    for control in ("none", "retest", "reader", "advocates_low", "advocates_high"):
        small = ("repetitions=2", "topic=racism", "rounds=1", "engine.cut=1")
        simulate(tmp_path / "made", *small, f"control={control}")
        runs.append(Path(shutil.move(tmp_path / "made" / "run", tmp_path / control)))
    together.compare(runs, tmp_path)
    file = page.write(runs, tmp_path / REPORT)
    for width, scheme in ((390, "dark"), (1280, "light")):
        watched = Watched(browser, file, color_scheme=scheme, viewport={"width": width, "height": 800})
        shown = watched.open()
        assert shown.locator("table.drift tbody tr").count() == 4
        assert shown.locator("#controls figure").count() == 0, "off_topic and advocates_both are missing"
        assert shown.get_by_role("checkbox", name="advocate for").count() == 0
        read_in_the_reader(shown)
        shown.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
        found = Axe().run(shown).response["violations"]
        assert [(it["id"], it["nodes"][0]["html"]) for it in found if it["impact"] in ("serious", "critical")] == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        watched.quiet()
        watched.context.close()


def read_in_the_reader(shown: Page) -> None:
    """A debate that is read, its transcript with a shortened reply, advocates, and a repeated survey."""
    shown.locator("#reader-run").select_option("2")
    assert shown.locator(".reads").inner_text().startswith("Nobody speaks here: these agents read debate racism/")
    shown.locator(".reads a").click()
    expect(shown.locator("#reader-run")).to_have_value("0")
    assert shown.locator("#debate .note code").first.inner_text() == "racism/rep_dem_default/0001"
    reply = shown.locator(".reply").first
    assert "cut at the token limit, and shortened" in reply.locator(".flag").inner_text()
    reply.locator("summary").click()
    assert reply.locator(".whole .text").inner_text() == reply.locator("> .text").inner_text() + " And so I"
    shown.locator("#reader-run").select_option("4")
    assert shown.locator(".reply .tally", has_text="advocate for the high end").count() == 2
    assert shown.locator(".survey li").count() == 2 * 3
    shown.locator("#reader-run").select_option("1")
    assert shown.locator(".survey h4").last.inner_text() == "Attitudes asked again, as after reply 3"


def test_160_debates_are_ready_within_two_seconds(browser: Browser, finished: Path, tmp_path: Path) -> None:
    watched = Watched(browser, page.write([large(tmp_path, finished, 160)], tmp_path / REPORT))
    shown = watched.open()
    assert shown.evaluate("performance.now()") < 2000
    assert shown.locator("#sampled").inner_text() == ""
    watched.quiet()
    watched.context.close()


def test_10_000_debates_say_that_transcripts_are_a_sample(browser: Browser, ten_thousand: Path) -> None:
    watched = Watched(browser, ten_thousand)
    shown = watched.open()
    print(f"ready after {shown.evaluate('performance.now()'):.0f} ms, {ten_thousand.stat().st_size / 1e6:.1f} MB")
    assert "of 10,000 debates, drawn at random" in shown.locator("#sampled").inner_text()
    assert "n = 2500" in shown.locator(".readout").first.evaluate("it => (it.parentElement.focus(), it.textContent)")
    shown.locator("#search").fill("12 word")
    assert "replies and 0 personas" in shown.locator("#found").inner_text()
    watched.quiet()
    watched.context.close()


def test_the_report_of_a_real_model_is_read_and_searched(browser: Browser, tmp_path: Path) -> None:
    lines = [{"party": party, "name": name, "story": f"You are {name}, a {party}."}
             for party, name in (("republican", "James"), ("republican", "John"), ("democrat", "Amelia"),
                                 ("democrat", "Olivia"))]  # fmt: skip
    (tmp_path / "personas.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    small = ("repetitions=2", "rounds=1", "sampling.max_tokens=24", "personas.file=personas.jsonl")
    done = cli(tmp_path, "model=smollm2", "topic=racism", *small)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.splitlines()[-1].removeprefix("run: ")
    watched = Watched(browser, folder / REPORT)
    shown = watched.open()
    assert "on the model smollm2: 2 debates and 6 replies" in shown.locator(".lead").inner_text()
    assert shown.locator("h1").inner_text() == "Debates on racism"
    replies = [it for it in records.read(folder / "events.jsonl") if isinstance(it, records.Reply)]
    sought = max(replies, key=lambda it: len(it.text))
    shown.locator("#search").fill(sought.text[:20])
    shown.locator(f"#results a[href$='{sought.debate}/{sought.iteration}']").first.click()
    assert shown.locator(".reply.here").get_attribute("id") == f"iteration-{sought.iteration}"
    assert shown.locator("table.statistics tbody tr").count() > 0
    watched.quiet()
    watched.context.close()
