"""The mixed model: how fast each role's attitude changes, with debates that differ in level and slope."""

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.resampling import generator
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, span, where, who
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

LARGEST = 400
"""Debates that a mixed model is fitted to; out of more, this many are drawn."""
OPTIMIZERS = ["bfgs", "lbfgs", "cg", "powell"]
"""How the likelihood is maximised, one after the other until one converges: statsmodels' own, then one without a
gradient. Where slopes hardly differ between debates the best fit lies on an edge, and gradients stop short of it on
some processors."""

_FLAT = 1e-9


def mixed_model(study: "Study") -> Iterator[Row]:
    """Attitude ~ iteration × role + topic, random intercept and slope by debate (Source: protocol.md, mixed model).

    `mixed_slope` is the reference role's (the Default's if it speaks), `mixed_slope_difference` every other speaking
    role's, in points per iteration. Agents of one role in one debate are averaged first. The Wald tests treat what a
    role's answers share from one round to the next as independent noise, so they are overconfident; read the
    sign-flip tests first. Warnings of statsmodels become the remark.
    """
    answers = study.answers
    asked = sorted({*answers.loc[answers["iteration"] > 0, "role"]}, key=lambda role: (role != DEFAULT, role))
    spoken = answers[answers["role"].isin(asked)].dropna(subset=["value"])
    means = spoken.groupby(["topic", "repetition", "role", "iteration"], sort=True)["value"].mean().reset_index()
    roles = [role for role in asked if role in {*means["role"]}]
    groups = means.groupby(["topic", "repetition"], sort=True).ngroup().to_numpy()
    debates = int(groups.max()) + 1 if len(groups) else 0
    reference = roles[0] if roles else DEFAULT
    method = f"statsmodels MixedLM (REML), {study.outcome} ~ iteration × role + topic, random intercept and slope by "
    method += f"debate; Wald test; reference {reference}; outside the Holm family"
    why = _unfittable(means, debates, answers)
    if debates > LARGEST:
        kept = generator(study.seed, "mixed").choice(debates, LARGEST, replace=False)
        means, groups = means[np.isin(groups, kept)], groups[np.isin(groups, kept)]
        method += f"; {LARGEST:,} of {debates:,} debates, drawn at random"
        debates = LARGEST
    fit, remark = (None, why) if why else _fitted(means, groups, roles)
    for place, role in enumerate(roles or [reference]):
        name = "mixed_slope_difference" if place else "mixed_slope"
        numbers = {} if fit is None else dict(zip(("estimate", "ci_low", "ci_high", "p"), fit[place], strict=True))
        yield Row(name, "", role, debates, method, remark, **numbers)


def _unfittable(means: "pd.DataFrame", debates: int, answers: "pd.DataFrame") -> str:
    """Why no mixed model can be fitted; empty when one can."""
    if not (answers["iteration"] > 0).any():
        return "nobody was surveyed after iteration 0"
    if debates == 0:
        return "every answer was invalid"
    if debates == 1:
        return "there is only one debate"
    if means.groupby("role")["iteration"].nunique().min() < 2:
        return "a role has valid answers at one iteration only"
    if float(means.groupby(["topic", "role"])["value"].agg(np.ptp).max()) <= _FLAT:
        return "the scores of each role are constant (zero variance)"
    return ""


def _fitted(means: "pd.DataFrame", groups: Any, roles: list[str]) -> tuple[list[list[float]] | None, str]:
    """Estimate, interval and p of each role's term, or None; and the remark."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    time = means["iteration"].to_numpy(float)
    is_role = [(means["role"] == role).to_numpy(float) for role in roles]
    slopes = [time, *(time * one for one in is_role[1:])]
    topics = [(means["topic"] == topic).to_numpy(float) for topic in sorted({*means["topic"]})]
    exog = np.column_stack([*slopes, np.ones_like(time), *is_role[1:], *topics[1:]])
    if np.linalg.matrix_rank(exog) < exog.shape[1]:
        return None, "its terms cannot be separated in these debates (collinear)"
    random = np.column_stack([np.ones_like(time), time])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            model = MixedLM(means["value"].to_numpy(float), exog, groups, exog_re=random)
            fit: Any = model.fit(reml=True, method=OPTIMIZERS)
            terms = np.column_stack([fit.fe_params, fit.conf_int()[: exog.shape[1]], fit.pvalues[: exog.shape[1]]])
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError, FloatingPointError) as error:
            return None, f"statsmodels could not fit the model ({_line(error)})"
    if not fit.converged:
        return None, "statsmodels' fit did not converge"
    wanted = terms[: len(slopes)]
    said = list(dict.fromkeys(_line(one.message) for one in caught))
    if not np.isfinite(wanted).all():
        return None, f"statsmodels gave no standard errors ({'; '.join(said) or 'no reason given'})"
    return wanted.tolist(), f"statsmodels warned: {'; '.join(said)}" if said else ""


def _line(message: object) -> str:
    return " ".join(str(message).split()).rstrip(".")


def _slope(row: Row, labels: Mapping[str, str]) -> str:
    size = f"{span(row)} per iteration on {where(row, labels)}"
    return f"In the mixed model, {who(row, labels)} changed by {size} ({evidence(row)})"


def _difference(row: Row, labels: Mapping[str, str]) -> str:
    size = f"{span(row)} per iteration on {where(row, labels)}"
    return (
        f"In the mixed model, the slope of {who(row, labels)} differed from the reference's by {size} ({evidence(row)})"
    )


STATISTICS = (
    Statistic(
        name="mixed_slope",
        title="the slope in the mixed model",
        about="How fast did the reference role's attitude change?",
        function=mixed_model,
        sentence=_slope,
        order=50,
    ),
    Statistic(
        name="mixed_slope_difference",
        title="the difference of slopes in the mixed model",
        about="How much faster or slower did another role's attitude change than the reference role's?",
        function=mixed_model,
        sentence=_difference,
        order=51,
    ),
)
