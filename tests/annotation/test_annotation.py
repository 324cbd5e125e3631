"""Rating by people: what is drawn, the form in a browser, what is read back, and how far raters agree."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import CHROMIUM, hustings, simulate
from judges import honest, judged
from playwright.sync_api import sync_playwright
from sklearn.metrics import cohen_kappa_score

from hustings import load
from hustings.annotation.agreement import Rating, agreement, alpha, disagreements, kappa, majority, read, write
from hustings.annotation.sample import FORM, RATED, SHEET, export, replies, sample
from hustings.errors import RecordError, SettingsError
from hustings.files import read_table

CANONICAL = """* * * * * 3 4 1 2 1 1 3 3 * 3
1 * 2 1 3 3 4 3 * * * * * * *
* * 2 1 3 4 4 * 2 1 1 3 3 * 4"""
"""Krippendorff's own example, as Wikipedia has it: three coders, 15 units."""


def rated(folder: Path, rater: str, ratings: dict[str, str]) -> Path:
    path = folder / f"{rater}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(RATED)
        rows.writerows([name, "racism", f"text of {name}", rating, "", rater] for name, rating in ratings.items())
    return path


def test_the_sample_is_even_over_roles_and_rounds_shuffled_and_blind(finished: Path, tmp_path: Path) -> None:
    study = load(finished / "run")
    chosen = sample(study, 27, 1)
    assert (chosen.groupby(["role", "round"]).size() == 3).all()
    assert chosen["id"].tolist() == sample(study, 27, 1)["id"].tolist() != sample(study, 27, 2)["id"].tolist()
    assert chosen["role"].ne(chosen["role"].shift()).sum() > 9
    assert export(study, tmp_path, 27, 1) == 27
    sheet = read_table(tmp_path / SHEET)
    assert [*sheet.columns] == RATED
    assert sheet["id"].tolist() == chosen["id"].tolist()
    html = (tmp_path / FORM).read_text(encoding="utf-8")
    for name in study.agents["name"].unique():
        assert f" {name}" not in html
    assert "republican" not in html.lower()


def test_more_replies_than_there_are_gives_all_of_them_once(finished: Path) -> None:
    study = load(finished / "run")
    chosen = sample(study, 1000, 1)
    assert len(chosen) == study.replies["text"].nunique() == chosen["id"].nunique()


def test_a_run_in_which_nobody_speaks_is_refused(tmp_path: Path) -> None:
    simulate(tmp_path, "repetitions=2", "topic=racism", "control=retest")
    with pytest.raises(SettingsError, match="nobody speaks in this run"):
        export(load(tmp_path / "run"), tmp_path, 10, 1)


@pytest.mark.browser
def test_the_form_works_from_disk_keeps_what_was_chosen_and_exports_what_import_reads(
    finished: Path, tmp_path: Path
) -> None:
    export(load(finished / "run"), tmp_path, 12, 1)
    ids = read_table(tmp_path / SHEET)["id"].tolist()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(offline=True, accept_downloads=True)
        page, said = context.new_page(), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((tmp_path / FORM).as_uri())
        page.wait_for_selector("html[data-ready]")
        page.get_by_label("Your name").fill('Ann "A", Lee')
        page.locator("h1").click()
        for key in "71024":
            page.keyboard.press(key)
            page.keyboard.press("ArrowRight")
        page.get_by_label("+2", exact=True).check()
        page.get_by_label("Remark").fill("unclear, = hm")
        page.reload()
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#status").inner_text() == "6 of 12 rated."
        assert page.locator("#number").inner_text() == "Reply 6 of 12"
        assert page.get_by_label("+2", exact=True).is_checked()
        page.get_by_role("button", name="Next unrated").click()
        assert page.locator("#number").inner_text() == "Reply 7 of 12"
        with page.expect_download() as download:
            page.get_by_role("button", name="Save ratings.csv").click()
        download.value.save_as(tmp_path / "ratings.csv")
        assert said == []
        browser.close()
    given = read([tmp_path / "ratings.csv"])
    assert given.ratings == {'Ann "A", Lee': dict(zip(ids, [3.0, -3.0, "none", -2.0, 0.0, 2.0], strict=False))}
    assert {*given.texts} == {*ids}


def test_alpha_is_krippendorffs_own(tmp_path: Path) -> None:
    coders = [line.split() for line in CANONICAL.splitlines()]
    ratings: dict[str, dict[str, Rating]] = {
        f"coder {place}": {str(unit): float(it) - 2 for unit, it in enumerate(line) if it != "*"}
        for place, line in enumerate(coders)
    }
    found = alpha(ratings, 1, stance=True)
    # https://en.wikipedia.org/wiki/Krippendorff%27s_alpha gives interval 0.811 and nominal 0.691 for these data
    import krippendorff

    matrix = [[np.nan if it == "*" else float(it) for it in line] for line in coders]
    reference = krippendorff.alpha(reliability_data=matrix, level_of_measurement="ordinal")
    assert found["estimate"] == pytest.approx(reference)
    assert krippendorff.alpha(reliability_data=matrix, level_of_measurement="interval") == pytest.approx(
        0.811, abs=1e-3
    )
    assert found["n"] == 12
    assert found["ci_low"] < found["estimate"] < found["ci_high"]


def test_no_stance_is_agreed_on_apart_from_the_stance() -> None:
    names = [str(it) for it in range(20)]
    one: dict[str, Rating] = {it: "none" if place % 4 == 0 else float(place % 3) for place, it in enumerate(names)}
    found = alpha({"a": one, "b": dict(one)}, 1, stance=False)
    assert (found["estimate"], found["n"]) == (1.0, 20)
    assert alpha({"a": one, "b": dict(one)}, 1, stance=True)["n"] == 15
    assert np.isnan(alpha({"a": one}, 1, stance=True)["estimate"])


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    one = rng.integers(-3, 4, 100).astype(float)
    two = np.clip(one + rng.integers(-2, 3, 100), -3, 3)
    found = kappa([*one], [*two])
    reference = cohen_kappa_score(one.astype(int), two.astype(int), weights="quadratic", labels=[*range(-3, 4)])
    assert found["estimate"] == pytest.approx(reference)
    assert found["ci_low"] < reference < found["ci_high"]
    assert np.isnan(kappa([1.0, 1.0], [1.0, 2.0])["estimate"])


@pytest.mark.parametrize(
    ("given", "most"),
    [([], None), ([1.0, 1.0, 3.0], 1.0), ([1.0, 3.0], 1.0), ([-3.0, 0.0, 2.0], 0.0), (["none", "none", 2.0], "none"),
     (["none", 2.0], 2.0), ([-1.0, -1.0, 2.0, 2.0], -1.0)],
)  # fmt: skip
def test_the_majority_is_the_most_frequent_rating(given: Any, most: Any) -> None:
    assert majority(given) == most


def test_sheets_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = tmp_path / "bo.csv"
    path.write_text(
        "\ufeffid;topic;text;rating\na;racism;x;2\nb;racism;y;−1\nc;racism;z;None\nd;racism;w;\ne;r;v;+3.0\n"
    )
    assert read([path]).ratings == {"bo": {"a": 2.0, "b": -1.0, "c": "none", "e": 3.0}}


def test_what_is_no_rating_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"ann.csv, line 3: rating='5': must be a whole number from -3 to \+3"):
        read([rated(tmp_path, "ann", {"a": "1", "b": "5"})])
    with pytest.raises(RecordError, match="nothing is rated"):
        read([rated(tmp_path, "ann", {"a": ""})])
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RecordError, match="it lacks the column id"):
        read([tmp_path / "x.csv"])
    with pytest.raises(RecordError, match="cannot be read"):
        read([tmp_path / "gone.csv"])
    twice = rated(tmp_path, "ann", {"a": "1"})
    other = tmp_path / "other.csv"
    other.write_text(twice.read_text().replace(",1,", ",2,"))
    with pytest.raises(RecordError, match="ann rated this reply before, otherwise"):
        read([twice, other])


def test_raters_are_compared_with_each_other_and_with_the_judge(finished: Path, tmp_path: Path) -> None:
    run, _ = judged(tmp_path, finished / "run", honest())
    study = load(run)
    said = replies(study)
    stances = pd.DataFrame(study.stances).set_index(["repetition", "iteration"])["stance"]
    truth = {
        name: int(np.rint(stances[repetition, iteration]))
        for name, repetition, iteration in zip(said["id"], said["repetition"], said["iteration"], strict=True)
    }
    ann = {name: str(value) for name, value in truth.items()}
    bo = {name: str(max(-3, min(3, value + place % 2))) for place, (name, value) in enumerate(truth.items())}
    first, *others = list(truth)
    bo[first] = str(-3 if truth[first] >= 0 else 3)
    bo[others[0]] = "none"
    given = read([rated(tmp_path, "ann", ann), rated(tmp_path, "bo", bo)])
    found = agreement(given, study).set_index("measure")
    assert found.loc["alpha_ordinal", "n"] == len(truth) - 1
    assert 0.8 < found.loc["alpha_ordinal", "estimate"] < 1
    assert found.loc["kappa_weighted", "judge"] == "stub"
    assert found.loc["kappa_weighted", "estimate"] > 0.9
    apart = disagreements(given, study).set_index("id")
    assert {first, others[0]} <= {*apart.index}
    assert apart.index[0] == first
    assert apart.loc[others[0], "rating of bo"] == "none"
    assert apart.loc[first, "role"] in ("republican", "democrat", "default")
    with pytest.raises(RecordError, match="none of the rated replies is from this run"):
        write(read([rated(tmp_path, "cy", {"x": "1"})]), study, tmp_path)


def test_the_commands_export_and_import(finished: Path, tmp_path: Path) -> None:
    done = hustings("annotate", "export", str(finished / "run"), "--replies", "10", "--output", str(tmp_path))
    assert done.stdout.startswith("10 replies. Send ")
    sheet = read_table(tmp_path / SHEET)
    for rater, by in (("ann", 0), ("bo", 1)):
        ratings = {name: str(place % 5 - 2 + by) for place, name in enumerate(sheet["id"])}
        rated(tmp_path, rater, ratings)
    files = [str(tmp_path / "ann.csv"), str(tmp_path / "bo.csv")]
    done = hustings("annotate", "import", *files, "--run", str(finished / "run"))
    assert done.stdout.startswith("On the stance (ordinal), Krippendorff's α of 2 raters is 0.")
    assert (tmp_path / "agreement.csv").exists()
    assert "0 replies to read in" in done.stdout
