"""Sets of life stories as a random effect: against statsmodels, and on studies whose variances are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM
from tables import planted, study_of

from hustings.analysis.sets import random_effect, sets
from hustings.report.sets import groups
from hustings.study import Study


def draw(between: float, seed: int, k: int = 3, size: int = 40) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [1.0 + between * rng.normal() + rng.normal(size=size) for _ in range(k)]


def test_the_mean_and_the_share_are_those_of_a_mixed_model() -> None:
    values = draw(1.0, 3, k=8)
    found = random_effect(values)
    table = pd.DataFrame({"y": np.concatenate(values), "set": np.repeat(range(8), 40)})
    fit: Any = MixedLM(table["y"], np.ones(len(table)), table["set"]).fit(reml=True)
    variance = float(fit.cov_re.iloc[0, 0])
    assert found["estimate"] == pytest.approx(float(fit.fe_params.iloc[0]), abs=1e-4)
    assert found["share"] == pytest.approx(variance / (variance + fit.scale), abs=1e-3)
    assert found["share_low"] < found["share"] < found["share_high"]


def test_intervals_cover_the_truth_although_debates_of_one_set_are_alike() -> None:
    covered = share = plain = 0
    for seed in range(400):
        values = draw(0.7, seed)
        found = random_effect(values)
        covered += found["ci_low"] <= 1.0 <= found["ci_high"]
        share += found["share_low"] <= 0.49 / 1.49 <= found["share_high"]
        whole = np.concatenate(values)
        plain += abs(whole.mean() - 1.0) < 1.98 * whole.std(ddof=1) / len(whole) ** 0.5
    assert 0.92 <= covered / 400 <= 0.98
    assert 0.92 <= share / 400 <= 0.98
    assert plain / 400 < 0.5


def test_nothing_between_sets_is_a_share_near_zero() -> None:
    shares = [random_effect(draw(0.0, seed))["share"] for seed in range(100)]
    assert np.median(shares) == 0
    assert np.mean(shares) < 0.02


def test_what_has_no_variance_is_missing_and_not_an_error() -> None:
    same = random_effect([np.full(4, 2.0), np.full(4, 2.0)])
    assert (same["estimate"], same["ci_low"], same["p"]) == (2.0, 2.0, 0.0)
    assert np.isnan(same["share"])
    assert np.isnan(random_effect([np.ones(1), np.zeros(1)])["share"])


def of_set(number: int, pull: float) -> Study:
    study = study_of(planted(debates=20, seed=number, pulls=(0.0, pull, 0.0)))
    settings = {**study.manifest.settings, "personas": {"set": number, "file": None}, "repetitions": 20}
    return replace(study, manifest=study.manifest.model_copy(update={"settings": settings}))


def test_a_table_says_how_much_of_the_variance_is_the_stories() -> None:
    table = sets([of_set(1, 0.1), of_set(2, 0.3), of_set(3, 0.5)])
    assert table["role"].tolist() == ["democrat", "republican"]
    mine = table.set_index("role").loc["republican"]
    assert (mine["sets"], mine["n"]) == (3, 60)
    assert mine["share"] > 0.5
    assert mine["sentence"].startswith("Over 3 sets of life stories, Republican agents ended ")
    assert "of the variance between debates is due to the set of stories." in mine["sentence"]


def test_runs_that_differ_in_more_than_their_stories_are_no_group() -> None:
    one, two = of_set(1, 0.1), of_set(2, 0.1)
    assert groups({"a": one, "b": two}) == {"": {"a": one, "b": two}}
    other = replace(two, manifest=two.manifest.model_copy(update={"settings": {**two.design, "seed": 2}}))
    assert groups({"a": one, "b": other}) == {}
    assert groups({"a": one, "b": one}) == {}


TOPICS = ("guns", "taxes")


def on(topic: str, study: Study) -> Study:
    """The study as if it had been about another topic."""
    parties = {
        role: {**party, "stances": dict.fromkeys(TOPICS, party["stances"]["racism"])}
        for role, party in study.design["society"]["parties"].items()
    }
    settings = {
        **study.design,
        "topics": {topic: {**study.design["topics"]["racism"], "label": topic}},
        "society": {**study.design["society"], "parties": parties},
    }
    manifest = study.manifest.model_copy(update={"settings": settings})
    tables = (table.assign(topic=topic) for table in (study.attitudes, study.agents))
    return replace(study, manifest=manifest, **dict(zip(("attitudes", "agents"), tables, strict=True)))


def test_every_topic_of_a_sweep_has_its_rows() -> None:
    studies = [on(topic, of_set(number, 0.1 * number)) for topic in TOPICS for number in (1, 2, 3)]
    (group,) = groups({str(place): study for place, study in enumerate(studies)}).values()
    table = sets(group.values())
    assert table[["topic", "role", "sets"]].to_numpy().tolist() == [
        [topic, role, 3] for topic in TOPICS for role in ("democrat", "republican")
    ]
    one = sets([study for study in studies if "taxes" in study.design["topics"]])
    pd.testing.assert_frame_equal(table[table["topic"] == "taxes"].reset_index(drop=True), one)
