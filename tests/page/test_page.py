"""The report as a file: self-contained, escaped, sampled where it would be too large, true to the tables."""

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import odd
import pandas as pd
import pytest
from helpers import LIKERT, Event, large, leave, log, report, simulate
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from hustings import page, records
from hustings.analysis.curves import curve
from hustings.analysis.statistics import all_statistics
from hustings.errors import RecordError
from hustings.files import write_table
from hustings.page.transcripts import Transcripts, transcripts
from hustings.report import alerts, together
from hustings.report.controls import SEPARATES
from hustings.runfolder import REPORT, AdapterName, RunManifest, hashes, read_manifest, write_manifest
from hustings.study import Study, load


def data_of(html: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def made(folder: Path, *runs: Path) -> str:
    return page.write(runs, folder / REPORT).read_text(encoding="utf-8")


def test_a_run_ends_with_its_report(finished: Path) -> None:
    html = (finished / "run" / REPORT).read_text(encoding="utf-8")
    assert "A Republican, a Democrat and a Default agent debated racism over 3 rounds" in html
    assert "6 debates and 54 replies" in html
    assert "python simulate.py repetitions=6 topic=racism" in html


def test_the_page_asks_for_nothing_and_allows_only_its_own_blocks(finished: Path) -> None:
    html = (finished / "run" / REPORT).read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src &#39;none&#39;;") or policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    blocks = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", html, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert digest in policy.replace("&#43;", "+")
    outside = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", outside) == []
    assert " style=" not in outside


def test_the_curves_of_the_page_are_those_of_the_analysis_for_both_outcomes(finished: Path) -> None:
    (data,) = data_of((finished / "run" / REPORT).read_text(encoding="utf-8"))
    assert [*data["outcomes"].items()] == [
        ("expected", "expected value (mean over the options' probabilities)"),
        ("score", "chosen option (the paper's score)"),
    ]
    for outcome in data["outcomes"]:
        table = curve(load(finished / "run").analysed_as(outcome))
        points = [(topic, role, *point) for topic, roles in data["curves"][outcome].items()
                  for role, line in roles.items() for point in line]  # fmt: skip
        assert len(points) == len(table) == 16
        for (topic, role, iteration, n, mean, se), (_, row) in zip(points, table.iterrows(), strict=True):
            assert (topic, role, iteration, n) == (row["topic"], row["role"], row["iteration"], row["n"])
            assert (mean, se) == (pytest.approx(row["mean"], abs=1e-4), pytest.approx(row["se"], abs=1e-4))


def test_every_reply_and_answer_of_the_log_is_on_the_page(finished: Path) -> None:
    (data,) = data_of((finished / "run" / REPORT).read_text(encoding="utf-8"))
    log = list(records.read(finished / "run" / "events.jsonl"))
    shown = {(debate["key"], it[0], it[1]): it[2] for debate in data["debates"] for it in debate["replies"]}
    assert shown == {(it.debate, it.iteration, it.agent): it.text for it in log if isinstance(it, records.Reply)}
    scores = {(debate["key"], it[0], it[1]): it[2] for debate in data["debates"] for it in debate["surveys"]}
    assert scores == {(it.debate, it.iteration, it.agent): it.value for it in log if isinstance(it, records.Survey)}


@given(st.text(st.characters(), max_size=60))
def test_any_text_stands_between_script_tags_and_comes_back(text: str) -> None:
    embedded = page._embedded([text, "</script><!--<script>", "\u2028\ud800"])
    assert not re.search("[<>&\u2028\u2029\x00-\x1f]", embedded)
    embedded.encode()
    assert json.loads(embedded)[0] == text


class Seen(HTMLParser):
    """What a browser makes of a page: its elements, attributes of scripts, and the text outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.handlers: list[str] = []
        self.text = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self._inside = tag
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += f"{data} "

    @classmethod
    def of(cls, html: str) -> "Seen":
        parser = cls()
        parser.feed(html)
        parser.text = " ".join(parser.text.split())
        return parser


def test_names_and_labels_are_text_on_the_page(oddly_named: Path, finished: Path) -> None:
    html, usual = ((run / REPORT).read_text(encoding="utf-8") for run in (oddly_named, finished / "run"))
    found = Seen.of(html)
    for name in ("script", "style", "b", "i", "meta", "title"):
        assert found.elements[name] == Seen.of(usual).elements[name], name
    assert found.handlers == []
    for text in (*odd.TOPICS.values(), *odd.PARTIES.values(), "python simulate.py 'x='\"'\"'</script>'\"'\"''"):
        assert " ".join(text.split()) in found.text
    (data,) = data_of(html)
    assert {key: topic["label"] for key, topic in data["topics"].items()} == odd.TOPICS
    assert {key: data["roles"][key]["label"] for key in odd.PARTIES} == odd.PARTIES
    names = {agent[2] for debate in data["debates"] for agent in debate["agents"]}
    assert names >= {*odd.NAMES["nan"][:3], *odd.NAMES["true"][:3]}
    assert {debate["key"].partition("/")[0] for debate in data["debates"]} == {"007", "null"}


def test_names_of_runs_are_text_on_a_page_of_several_and_warnings_are_said_once(
    oddly_named: Path, tmp_path: Path
) -> None:
    runs = [tmp_path / "<b>one", tmp_path / '"two" & [three]']
    for run in runs:
        shutil.copytree(oddly_named, run)
    together.compare(runs, tmp_path / "both")
    html = page.write(runs, tmp_path / "both" / REPORT).read_text(encoding="utf-8")
    found = Seen.of(html)
    assert found.elements["b"] == 0 and found.handlers == []
    assert "(<b>one)" in found.text and '("two" & [three])' in found.text
    assert [run["label"] for run in data_of(html)] == ["(<b>one)", '("two" & [three])']
    (warnings,) = re.findall(r'<ul class="warnings".*?</ul>', html, re.DOTALL)
    said = re.findall("<li>(.*?)</li>", warnings)
    assert said and len({*said}) == len(said)
    assert sum("With fewer than 10 debates" in one for one in said) == 1
    assert not any(one.startswith("(") for one in said), "what is said of all runs names none"


def test_a_warning_of_one_run_of_several_names_it() -> None:
    said = alerts.together({"a": ["x.", "both."], "b": ["both."], "c": ["y.", "both.", "x."]})
    assert said == ["a; c: x.", "both.", "c: y."]


def test_other_tables_and_figures_of_the_folder_are_shown(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    (run / "loss.csv").write_text("step,loss\n1,0.6931\n2,<b>0.5</b>\n")
    shutil.copy(run / "figures" / "curves.png", run / "figures" / "forest_plot.png")
    (run / "statistics.csv").write_text(
        "statistic,topic,role,n,estimate,ci_low,ci_high,effect_size,p,p_holm,method,sentence\n"
        "convergence,racism,democrat,40,1.23456,1,2,,,,x,Democrats & others moved 1.2 points <towards> it.\n"
        "attractor,racism,,40,9.5,-inf,inf,,,,x,The model pulls.\n"
    )
    html = made(tmp_path, run)
    assert "<h3>loss</h3>" in html
    assert "&lt;b&gt;0.5&lt;/b&gt;" in html
    assert 'alt="Figure: forest plot"' in html
    assert "Democrats &amp; others moved 1.2 points &lt;towards&gt; it." in html
    assert ">1.23<" in html
    assert ">-∞ … ∞<" in html


def test_a_page_has_a_title_and_says_where_its_statistics_are_explained(finished: Path, tmp_path: Path) -> None:
    html = (finished / "run" / REPORT).read_text(encoding="utf-8")
    assert "<title>Hustings: Debates on racism (planted)</title>" in html
    assert "<h1>Debates on racism</h1>" in html
    assert "<code>docs/method.md</code>" in html
    assert html.count('<div class="finding">') == 1
    assert re.findall(r"<figcaption>([^<]*)</figcaption>", html)[0].startswith("How much nearer each party ended")
    assert "curves" not in "".join(re.findall(r'<img[^>]*alt="([^"]*)"', html))
    simulate(tmp_path, "repetitions=1", "topic=all", "rounds=1", "shadow=false")
    html = report(tmp_path).read_text(encoding="utf-8")
    assert "<h1>Debates on 4 topics</h1>" in html
    assert "shadow Default: the model" not in html
    assert "finding" not in re.sub("<(style|script).*?</\\1>", "", html, flags=re.DOTALL)


def test_statistics_are_grouped_and_each_says_what_it_answers(finished: Path) -> None:
    html = (finished / "run" / REPORT).read_text(encoding="utf-8")
    kinds = re.findall(r'<details class="family" data-kind="(\w+)"( open)?>', html)
    assert kinds == [("primary", " open"), ("secondary", " open"), ("paper", ""), ("descriptive", "")]
    parts = dict(zip([kind for kind, _ in kinds], html.split('<details class="family"')[1:], strict=True))
    named = {kind: re.findall(r'<tbody data-statistic="(\w+)">', part) for kind, part in parts.items()}
    assert named["primary"] == ["closing"]
    assert {"party_gap", "drift", "default_drift", "model_pull", "social_pull"} <= {*named["secondary"]}
    assert {"convergence", "closing"} <= {*named["paper"]}
    assert {"persona_check", "truncated", "diversity"} <= {*named["descriptive"]}
    assert "Did the agent end nearer to what the model itself thinks then?" in parts["primary"]
    shipped = {statistic.name: statistic.about for statistic in all_statistics()}
    assert all(f"<span>{escape(shipped[name])}</span>" in html for name in named["secondary"])


def test_warnings_are_on_the_page(finished: Path, tmp_path: Path) -> None:
    still = ("engine.alpha=0", "engine.beta=0", "engine.kappa=0", "engine.noise=0", "engine.start_low=6")
    simulate(tmp_path, "repetitions=3", "topic=racism", *still)
    html = report(tmp_path).read_text(encoding="utf-8")
    assert html.count("<li>Only ") == 1
    assert "the personas did not take.</li>" in html


def test_an_adapter_is_named(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    adapter = AdapterName(name="tuned-r8", id="abc123")
    write_manifest(run, read_manifest(run, RunManifest).model_copy(update={"adapter": adapter}))
    html = made(tmp_path, run)
    assert "on the model planted with the adapter tuned-r8:" in html
    assert "<dt>adapter id</dt><dd>abc123</dd>" in html


def test_several_runs_stand_in_one_page_named_by_what_differs(tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(tmp_path / str(seed), "repetitions=1", "topic=racism", f"seed={seed}")
    runs = data_of(made(tmp_path, tmp_path / "1" / "run", tmp_path / "2" / "run"))
    assert [run["label"] for run in runs] == ["seed 1", "seed 2"]


def test_a_copied_folder_is_paged_without_its_store_and_without_its_log(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(finished / "run", run)
    (run / "events.jsonl").unlink()
    (run / REPORT).unlink()
    (copied,) = data_of(made(tmp_path, run))
    (kept,) = data_of((finished / "run" / REPORT).read_text(encoding="utf-8"))
    assert copied == kept


def test_the_items_of_an_instrument_and_its_scale_are_on_the_page(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=3", "topic=racism", *LIKERT)
    html = report(tmp_path).read_text(encoding="utf-8")
    (data,) = data_of(html)
    assert data["scale"] == [1, 5]
    assert sorted(data["items"]) == ["exaggerated", "problem"]
    answers = [survey for debate in data["debates"] for survey in debate["surveys"]]
    for _, _, score, _, items in answers:
        assert score == pytest.approx(sum(value for value, _ in items) / 2)
    turned = {tuple(survey[4][data["items"].index("exaggerated")]) for survey in answers}
    assert turned <= {(5, "strongly disagree"), (4, "disagree"), (3, "neither"), (2, "agree"), (1, "strongly agree")}
    assert len(turned) > 2
    points = [point for line in data["curves"]["score"]["racism"].values() for point in line]
    assert all(1 <= point[2] <= 5 for point in points)


def test_an_attitude_is_missing_where_one_of_its_items_has_no_valid_answer(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=2", "topic=racism", *LIKERT)
    run = tmp_path / "run"
    events = list(records.read(run / "events.jsonl"))
    place = next(place for place, it in enumerate(events) if isinstance(it, records.Survey) and it.item == "problem")
    refused = events[place].model_copy(update={"value": None, "expected": None, "valid": False, "raw": "No comment"})
    events[place] = refused
    leave(events, run, read_manifest(run, RunManifest))
    html = made(tmp_path, run)
    (data,) = data_of(html)
    (missing,) = [survey for debate in data["debates"] for survey in debate["surveys"] if survey[2] is None]
    assert [None, "No comment"] in missing[4]
    assert [it[4:] for it in data["invalid"]] == [["problem", "No comment"]]
    assert "<dt>invalid answers</dt><dd>1</dd>" in html


def test_who_hears_whom_and_what_was_in_force_is_said(tmp_path: Path) -> None:
    four = ("composition.roles=[republican,democrat,republican,democrat]", "composition.observers=[default]")
    simulate(tmp_path, "repetitions=2", "topic=racism", "topology=ring", "mitigation=reminder", *four)
    html = made(tmp_path, tmp_path / "run")
    (data,) = data_of(html)
    assert [agent[5] for agent in data["debates"][0]["agents"]] == [[1, 3], [0, 2], [1, 3], [0, 2], "all", "all"]
    assert "Two Republican and two Democrat agents debated" in html
    assert "with the treatment reminder" in html
    assert "shadow Default (listens, never speaks)" in {role["label"] for role in data["roles"].values()}
    facts = {"who hears whom": "ring", "treatments": "reminder", "control": "none", "first speaker": "random"}
    for key, value in facts.items():
        assert f"<dt>{key}</dt><dd>{value}" in html


def test_roles_that_run_on_different_models_say_so(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    (alike,) = data_of(made(tmp_path, run))
    assert {agent[6] for debate in alike["debates"] for agent in debate["agents"]} == {None}
    table = pd.read_csv(run / "agents.csv", keep_default_na=False)
    table.loc[table["role"] == "democrat", "runs_on"] = "tiny on transformers"
    write_table(run / "agents.csv", table)
    manifest = read_manifest(run, RunManifest)
    write_manifest(run, manifest.model_copy(update={"files": hashes(run, tuple(manifest.files))}))
    html = made(tmp_path, run)
    (data,) = data_of(html)
    assert [agent[6] for agent in data["debates"][0]["agents"]].count("tiny on transformers") == 1
    assert "<dt>Democrat runs on</dt><dd>tiny on transformers</dd>" in html


def test_text_with_any_line_break_is_read_back_as_it_was(finished: Path, tmp_path: Path) -> None:
    texts = ["a\rb", "a\r\nb", "a\nb", "\r", "tail\x00", "NA", '"', " , ", ""]
    events = list(log(1))
    replies = [place for place, it in enumerate(events) if isinstance(it, records.Reply)]
    for place, text in zip(replies, texts, strict=False):
        events[place] = events[place].model_copy(update={"text": text})
    run = leave(events, tmp_path / "run", read_manifest(finished / "run", RunManifest))
    (data,) = data_of(made(tmp_path, run))
    assert [reply[2] for reply in data["debates"][0]["replies"]][: len(texts)] == texts


def test_tables_in_memory_make_the_page_that_the_folder_makes(finished: Path, tmp_path: Path) -> None:
    run = finished / "run"
    kept = load(run)
    tables = records.tables(records.read(run / "events.jsonl"), "planted", "", kept.seed)
    with page.growing(tmp_path / REPORT) as draw:
        draw(Study(run, kept.manifest, *tables), 6, 6)
    assert data_of((tmp_path / REPORT).read_text(encoding="utf-8")) == data_of(made(tmp_path, run))


def test_debates_with_a_survey_and_no_reply_yet_are_a_page(finished: Path, tmp_path: Path) -> None:
    kept, events = load(finished / "run"), []
    for event in records.read(finished / "run" / "events.jsonl"):
        if isinstance(event, records.Start) or getattr(event, "iteration", 1) == 0:
            events.append(event)
            with page.growing(tmp_path / REPORT) as draw:
                if isinstance(event, records.Survey):
                    draw(Study(tmp_path, kept.manifest, *records.tables(events, "planted", "", 1)), 0, 6)
    (data,) = data_of((tmp_path / REPORT).read_text(encoding="utf-8"))
    assert [len(debate["replies"]) for debate in data["debates"]] == [0] * 6
    assert [line[0][1] for line in data["curves"]["score"]["racism"].values()] == [6] * 4


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run's folder"):
        page.write([tmp_path], tmp_path / REPORT)


def sampled(events: list[Event], folder: Path, finished: Path, budget: int) -> Transcripts:
    return transcripts(load(leave(events, folder, read_manifest(finished / "run", RunManifest))), budget)


def test_transcripts_are_sampled_whole_and_the_same_each_time_and_counted_all(finished: Path, tmp_path: Path) -> None:
    events = list(log(200))
    found = sampled(events, tmp_path, finished, 100_000)
    assert 10 < len(found.debates) < 40
    assert all(len(debate["replies"]) == 15 and len(debate["surveys"]) == 18 for debate in found.debates)
    assert found.counts["replies"] == 3000
    backwards = [event for part in reversed(list(log_parts(events))) for event in part]
    again = sampled(backwards, tmp_path, finished, 100_000)
    assert [it["key"] for it in again.debates] == [it["key"] for it in found.debates]
    numbers = [int(it["key"].rpartition("/")[2]) for it in found.debates]
    assert min(numbers) < 60 < 140 < max(numbers)
    assert len(sampled(events, tmp_path, finished, 10**7).debates) == 200
    assert len(sampled(events, tmp_path, finished, 1).debates) == 1


def test_life_stories_count_in_the_size_of_a_page_and_each_once(finished: Path, tmp_path: Path) -> None:
    long, kept = "You are told at length. " * 2_000, read_manifest(finished / "run", RunManifest)
    events = list(log(60))
    shared = [it.model_copy(update={"agents": tuple(agent.model_copy(update={"story": long}) for agent in it.agents)})
              if isinstance(it, records.Start) else it for it in events]  # fmt: skip
    own = [it.model_copy(update={"agents": tuple(agent.model_copy(update={"story": f"{it.debate} {place} {long}"})
                                                 for place, agent in enumerate(it.agents))})
           if isinstance(it, records.Start) else it for it in events]  # fmt: skip
    small, once, each = (
        len(transcripts(load(leave(them, tmp_path / name, kept)), 700_000).debates)
        for name, them in (("small", events), ("shared", shared), ("own", own))
    )
    assert (small, once) == (60, 60)
    assert each == 700_000 // (3 * len(long) + 8_000) < 5


def log_parts(events: list[Event]) -> Iterator[list[Event]]:
    part: list[Event] = []
    for event in events:
        part.append(event)
        if isinstance(event, records.End):
            yield part
            part = []


def test_160_debates_are_a_page_under_5_mb(finished: Path, tmp_path: Path) -> None:
    html = made(tmp_path, large(tmp_path, finished, 160))
    assert len(html.encode()) < 5e6
    (data,) = data_of(html)
    assert len(data["debates"]) == data["total"] == 160


def test_10_000_debates_are_a_page_under_25_mb_with_curves_of_all(ten_thousand: Path) -> None:
    html = ten_thousand.read_text(encoding="utf-8")
    assert len(html.encode()) < 25e6
    (data,) = data_of(html)
    assert data["total"] == 10_000
    assert 1_000 < len(data["debates"]) < 10_000
    assert {it[1] for roles in data["curves"]["score"].values() for line in roles.values() for it in line} == {2500}


@pytest.fixture(scope="module")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run of each control, by its name."""
    folder = tmp_path_factory.mktemp("controlled")
    runs: dict[str, Path] = {}
    for control in ("none", "retest", "off_topic", "reader", "advocates_low", "advocates_high", "advocates_both"):
        small = ("repetitions=2", "topic=racism", "rounds=2", "engine.cut=0.5")
        simulate(folder / "made", *small, f"control={control}")
        runs[control] = Path(shutil.move(folder / "made" / "run", folder / control))
    return runs


SAID = {
    "retest": "were surveyed on racism as often as in a debate of 2 rounds, and nobody spoke, on the model planted: 2 "
    "repetitions, without replies.",
    "off_topic": "debated the best way to spend a free weekend over 2 rounds and were surveyed on racism, on the model "
    "planted: 2 debates and 12 replies.",
    "reader": "read the debate of another repetition on racism, over 2 rounds, in which they did not speak, on the",
    "advocates_high": "each debated racism over 2 rounds with two advocates for the high end, and heard nobody else,",
    "advocates_both": "with an advocate for the low end and an advocate for the high end, and heard nobody else",
}


@pytest.mark.parametrize(("control", "said"), SAID.items(), ids=[*SAID])
def test_a_control_is_named_and_said_in_one_sentence(
    controlled: dict[str, Path], tmp_path: Path, control: str, said: str
) -> None:
    html = made(tmp_path, controlled[control])
    assert f"<h1>Control {control} on racism</h1>" in html
    lead = re.search('<p class="lead">(.*?)</p>', html)
    assert lead
    assert lead[1].startswith(f"Control {control}: a Republican, a Democrat and a Default agent ")
    assert said in lead[1]
    assert f"<dt>control</dt><dd>{control}</dd>" in html
    assert f"<title>Hustings: Control {control} on racism (planted)</title>" in html


def test_a_reader_says_which_debate_it_reads_and_nobody_speaks(controlled: dict[str, Path], tmp_path: Path) -> None:
    (data,) = data_of(made(tmp_path, controlled["reader"]))
    assert [debate["reads"] for debate in data["debates"]] == ["racism/rep_dem_default/0001",
                                                               "racism/rep_dem_default/0000"]  # fmt: skip
    assert [len(debate["replies"]) for debate in data["debates"]] == [0, 0]
    assert all(len(debate["surveys"]) == 12 for debate in data["debates"])


def test_advocates_are_named_and_have_no_curve(controlled: dict[str, Path], tmp_path: Path) -> None:
    (data,) = data_of(made(tmp_path, controlled["advocates_both"]))
    assert {role: one["label"] for role, one in data["roles"].items() if one["kind"] == "advocate"} == {
        "advocate_low": "advocate for the low end", "advocate_high": "advocate for the high end"}  # fmt: skip
    assert {*data["curves"]["expected"]["racism"]} == {"republican", "democrat", "default", "shadow"}
    agents = data["debates"][0]["agents"]
    assert [agent[7] for agent in agents] == ["always"] * 3 + ["never"] * 2 + ["always"]
    assert agents[-1][0] == "shadow" and not agents[-1][4]


def test_a_shortened_reply_keeps_its_full_text(controlled: dict[str, Path], tmp_path: Path) -> None:
    (data,) = data_of(made(tmp_path, controlled["none"]))
    replies = [reply for debate in data["debates"] for reply in debate["replies"]]
    cut = [reply for reply in replies if reply[3] == "length"]
    assert 0 < len(cut) < len(replies)
    assert all(reply[4] == f"{reply[2]} And so I" for reply in cut)
    assert {reply[4] for reply in replies if reply[3] == "stop"} == {None}


def test_a_sweep_over_controls_is_one_page_with_drift_response_and_what_they_separate(
    controlled: dict[str, Path], tmp_path: Path
) -> None:
    runs = [*controlled.values()]
    together.compare(runs, tmp_path)
    html = made(tmp_path, *runs)
    assert [run["label"] for run in data_of(html)] == ["debate", *(f"control {name}" for name in [*controlled][1:])]
    section = html[html.index('<section id="controls"') : html.index('<section id="curves"')]
    drift = section[section.index('class="drift"') : section.index("</table>")]
    assert re.findall(r'<th scope="row">(.*?)</th>', drift) == [
        "Democrat", "Republican", "Default", "shadow Default (listens, never speaks)"]  # fmt: skip
    changes = section[section.index('class="changes"') :]
    assert re.findall(r'<th scope="col">(.*?)</th>', changes)[2:] == [*controlled]
    assert all(escape(said) in section for said in SEPARATES.values())
    assert section.count("<img src=") == 1
    listed = html[html.index('<section id="runs"') : html.index('<section id="controls"')]
    assert re.findall(r'<th scope="col">(control.*?)</th>', listed) == ["control.name"]


def test_a_sweep_without_controls_has_no_such_section(finished: Path, tmp_path: Path) -> None:
    together.compare([finished / "run", finished / "run"], tmp_path)
    assert '<section id="controls"' not in made(tmp_path, finished / "run", finished / "run")
