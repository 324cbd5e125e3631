"""The studies of benchmarks/validity.py are those that engine=planted plays; and a few of its numbers."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, simulate

from hustings.study import load

sys.path.insert(0, str(ROOT / "benchmarks"))
import validity


def played(folder: Path, case: Any) -> Any:
    """The answers of a case from the engine, (debates, ROLES, surveys)."""
    planted = {"alpha": case.alpha, "beta": case.beta, "kappa": case.kappa, "bias": case.bias, "noise": case.noise,
               "first_default": case.first_default, "survey_noise": case.survey_noise, "start_low": case.start[0],
               "start_high": case.start[1], "start_spread": case.spread, "clip": str(case.clip).lower()}  # fmt: skip
    simulate(folder, "topic=racism", "experiment=figure3", "rounds=3", "repetitions=40",
             *(f"engine.{key}={value}" for key, value in planted.items()))  # fmt: skip
    (panel,) = load(folder / "run").panels.values()
    order = [next(at for at, (_, it) in enumerate(panel.seats) if it == role) for role in validity.ROLES]
    return panel.values[:, order]


def test_without_noise_the_engine_plays_exactly_the_same(tmp_path: Path) -> None:
    case = replace(validity.EASY, noise=0.0, spread=0.0, bias=7.0, first_default=5.0)
    rng = np.random.default_rng(1)
    mine = validity.answers(case, validity.first_attitudes(case, rng, 40), rng)[0]
    assert played(tmp_path, case) == pytest.approx(mine, abs=1e-5)


def test_with_noise_means_and_spreads_agree(tmp_path: Path) -> None:
    case = replace(validity.EASY, bias=9.0, first_default=5.0, survey_noise=0.3, clip=True, start=(0.5, 8.0))
    rng = np.random.default_rng(1)
    mine = validity.answers(case, validity.first_attitudes(case, rng, 20_000), rng)[0]
    theirs = played(tmp_path, case)
    error = mine.std(axis=0) / 40**0.5
    assert (np.abs(theirs.mean(axis=0) - mine.mean(axis=0)) < 4 * error + 1e-9).all()
    assert theirs.std(axis=0) == pytest.approx(mine.std(axis=0), rel=0.5, abs=0.02)


def test_a_small_benchmark_finds_what_it_planted() -> None:
    cases = {case.name: case for case in validity.CASES}
    wrong = pd.DataFrame([row for number in range(30) for row in validity.rows(cases["wrong_b"], number)])
    lines = {line["statistic"]: line for line in validity.summary(cases["wrong_b"], wrong)}
    assert lines["attractor"]["median"] == pytest.approx(9.0, abs=0.3)
    assert lines["attractor"]["covered"] > 0.8 and lines["social_pull"]["rejected"] < 0.2
    noisy = pd.DataFrame([row for number in range(10) for row in validity.rows(cases["noise_one"], number)])
    lines = {line["statistic"]: line for line in validity.summary(cases["noise_one"], noisy)}
    assert lines["anchor"]["rejected"] > 0.8


def test_the_page_has_a_section_for_each_case() -> None:
    from argparse import Namespace

    few = [replace(case, debates=6, studies=1.0) for case in validity.CASES if case.name in ("easy", "ends", "equal")]
    found = pd.DataFrame([row for case in few for number in range(2) for row in validity.rows(case, number)])
    page = validity.page(found, Namespace(studies=2))
    assert page.startswith("# How well calibrated are the statistics?\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## The easy case", "## At the ends of the scale", "## Every debate is the same"]  # fmt: skip
    assert "nan" not in page
