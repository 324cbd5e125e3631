"""The mixed model: how fast each role's attitude changes, if repetitions differ in level and slope."""

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.measures import last_iteration, of_role, speakers
from hustings.analysis.resampling import Floats, generator
from hustings.analysis.statistic import SECONDARY, Row, Statistic
from hustings.analysis.wording import evidence, size, where, who
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

LARGEST = 400
"""The most repetitions that a mixed model is fitted to; if there are more, this many are drawn."""
OPTIMIZERS = ["bfgs", "lbfgs", "cg", "powell"]
"""Optimizers of the likelihood, tried in turn until one converges: statsmodels' own, then one without a gradient. If
slopes hardly differ between repetitions, the best fit is on a boundary, and gradient methods stop short of it on some
processors."""
METHOD = (
    "statsmodels MixedLM (REML), {} aligned to the party's pole ~ iteration × role × topic, random intercept and slope "
    "by repetition; Wald test"
)

_FLAT = 1e-9
_RETRIES = ("Maximum Likelihood optimization failed to converge", "Retrying MixedLM")
"""Warnings issued before a fit that converges in the end."""


def mixed_model(study: "Study") -> Iterator[Row]:
    """Slopes by topic and role, points per iteration (Source: protocol.md, mixed model).

    The model is attitude ~ iteration × role × topic, with attitudes aligned so that up is towards the party's own pole,
    and with a random intercept and slope by repetition, because the debates of one repetition share personas. Roles
    without a pole are not aligned. Agents of one role in one debate are averaged first. The Wald tests treat noise that
    a role's answers share between rounds as independent, so they are overconfident; read the sign-flip tests first.
    Warnings of statsmodels become the remark.
    """
    table = _aligned(study)
    cells = list(dict.fromkeys(zip(table["topic"], table["role"], strict=True)))
    repetitions = np.unique(table["repetition"].to_numpy())
    method = METHOD.format(study.outcome)
    why = _unfittable(study, table, len(repetitions))
    if len(repetitions) > LARGEST:
        kept = generator(study.seed, "mixed").choice(repetitions, LARGEST, replace=False)
        table = table[table["repetition"].isin(kept)]
        method += f"; {LARGEST:,} of {len(repetitions):,} repetitions, drawn at random"
    fit, remark = (None, why) if why else _fitted(table, cells)
    for place, (topic, role) in enumerate(cells or [("", "")]):
        mine = table[(table["topic"] == topic) & (table["role"] == role)]
        estimate, low, high, p = [np.nan] * 4 if fit is None else fit[place]
        n = mine["repetition"].nunique()
        yield Row("mixed_slope", topic, role, n, method, remark, estimate=estimate, ci_low=low, ci_high=high, p=p)


def _aligned(study: "Study") -> "pd.DataFrame":
    """Mean attitudes of speaking roles, aligned with their own pole: topic, role, repetition, iteration, value."""
    import pandas as pd

    low, high = study.scale
    parts: list[pd.DataFrame] = []
    for topic, panel in sorted(study.panels.items()):
        for role in speakers(study, topic):
            values: Floats = of_role(panel, role)
            known = np.isfinite(values)
            if not known[:, :, 1:].any():
                continue
            means = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)  # (debates, surveys)
            if study.poles.get((role, topic)) == "low":
                means = low + high - means
            debate, survey = np.nonzero(known.any(axis=1))
            columns = {"repetition": panel.repetitions[debate], "iteration": panel.times[survey]}
            parts.append(pd.DataFrame({"topic": topic, "role": role, **columns, "value": means[debate, survey]}))
    empty = pd.DataFrame(columns=["topic", "role", "repetition", "iteration", "value"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def _unfittable(study: "Study", means: "pd.DataFrame", repetitions: int) -> str:
    """Why no mixed model can be fitted; empty if one can."""
    if last_iteration(study) == 0:
        return "nobody was surveyed after iteration 0"
    if repetitions == 0:
        return "every answer was invalid"
    if repetitions == 1:
        return "there is only one repetition"
    cells: Any = means.groupby(["topic", "role"])
    if cells["iteration"].nunique().min() < 2:
        return "a role has valid answers at one iteration only"
    if float(cells["value"].agg(np.ptp).max()) <= _FLAT:
        return "the attitudes of each role are constant, so there is nothing to fit"
    return ""


def _fitted(means: "pd.DataFrame", cells: list[tuple[str, str]]) -> tuple[list[list[float]] | None, str]:
    """Estimate, interval and p of each cell's slope, or None; and the remark."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    ordered = means.sort_values("repetition", kind="stable")
    time = ordered["iteration"].to_numpy(float)
    inside = [((ordered["topic"] == topic) & (ordered["role"] == role)).to_numpy(float) for topic, role in cells]
    exog = np.column_stack([*(time * one for one in inside), *inside])
    random = np.column_stack([np.ones_like(time), time])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            groups = ordered["repetition"].to_numpy()
            model = MixedLM(ordered["value"].to_numpy(float), exog, groups, exog_re=random)
            fit: Any = model.fit(reml=True, method=OPTIMIZERS)
            terms = np.column_stack([fit.fe_params, fit.conf_int()[: exog.shape[1]], fit.pvalues[: exog.shape[1]]])
        except (np.linalg.LinAlgError, ValueError, ZeroDivisionError, FloatingPointError) as error:
            return None, f"statsmodels could not fit the model ({_line(error)})"
    if not fit.converged:
        return None, "statsmodels' fit did not converge"
    wanted = terms[: len(cells)]
    said = [it for it in dict.fromkeys(_line(one.message) for one in caught) if not it.startswith(_RETRIES)]
    if not np.isfinite(wanted).all():
        return None, f"statsmodels gave no standard errors ({'; '.join(said) or 'no reason given'})"
    return wanted.tolist(), f"statsmodels warned: {'; '.join(said)}" if said else ""


def _line(message: object) -> str:
    return " ".join(str(message).split()).rstrip(".")


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    way = "towards" if row.estimate >= 0 else "away from"
    pole = ("up" if row.estimate >= 0 else "down") if row.role == DEFAULT else f"{way} their own pole"
    moved = f"{who(row, labels)} moved {size(row)} per iteration {pole} on {where(row, labels)}"
    return f"In the mixed model, {moved} ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="mixed_slope",
        title="the slope in the mixed model",
        about="How fast did each role's attitude change?",
        function=mixed_model,
        sentence=_sentence,
        family=SECONDARY,
        order=50,
    ),
)
