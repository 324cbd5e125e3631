"""Which mitigation keeps agents in character, and at what cost: each is compared with the same debates without it.

All values are paired by repetition: the same personas debate under every mitigation (Source: protocol.md,
mitigations).
"""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.comparison import personas, shared
from hustings.analysis.controls import UNWARRANTED, Changes, changes, controls
from hustings.analysis.measures import ends, parties, topics
from hustings.analysis.resampling import INTERVAL, Floats, bootstrap, few, generator, interval, mean_test, ratio
from hustings.analysis.statistic import Row, tabulate
from hustings.analysis.statistics.conduct import conduct
from hustings.analysis.statistics.movement import closing
from hustings.analysis.wording import evidence, size, where, who, whose

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

FAMILY = "mitigations"
"""Family of the tests of what a mitigation changes, adjusted together over all mitigations, topics and roles."""
PAIRED = (
    f"repetitions with the same personas; {INTERVAL}; two-sided sign-flip permutation test; effect size: Cohen's d_z"
)
FROM_CONTROLS = ("unwarranted_drift", "equivalence", "responsiveness")
FROM_DEBATE = ("closing", "truncated", "disclaimer")
_WORD = re.compile(r"\w+(?:['’]\w+)?")


@dataclass(frozen=True, slots=True)
class Mitigated:
    """The runs of one mitigation, which differ only in their control (and topics)."""

    name: str
    """`none`, or the mitigation's name in the settings."""
    dose: float
    """NaN if it has no dose, or if several mitigations are combined."""
    studies: "Mapping[str, Study]"
    """Studies by name."""

    @property
    def label(self) -> str:
        """`contrast 1.5`."""
        return self.name if np.isnan(self.dose) else f"{self.name} {self.dose:g}"


def mitigations(compared: "list[Mitigated]", tuning: Collection[str]) -> "pd.DataFrame":
    """The effect of each mitigation on drift, response and speech, by topic and role.

    `unwarranted_drift`, `equivalence` and `responsiveness` are those of the controls; `closing`, `truncated` and
    `disclaimer` are those of the debate itself. `drift_stopped` is how much less agents drift without a reason than
    they do without the mitigation, and `response_lost` how much less they respond to advocates, both within
    repetitions. `spread_kept` is the SD over debates at the end divided by that at the start; `distinct_2` is the share
    of distinct word pairs among the pairs of neighbouring words in a debate's replies; `seconds` and `tokens` are per
    debate.

    Args:
        compared: mitigations whose runs differ in nothing else; the one named `none` is the baseline.
        tuning: topics on which doses were chosen; all other topics are held out.

    Returns:
        Columns `mitigation`, `dose`, `held_out`, and those of statistics.COLUMNS.
    """
    import pandas as pd

    plain = next((it for it in compared if it.name == "none"), None)
    rows = [(it, row) for it in compared for row in _rows(it, plain)]
    labels = {key: label for it in compared for study in it.studies.values() for key, label in study.labels.items()}
    table = tabulate([row for _, row in rows], lambda row: _sentence(row, labels))
    under = ["Without a mitigation" if it.name == "none" else f"Under {it.label}" for it, _ in rows]
    table["sentence"] = [f"{first}, {said}" for first, said in zip(under, table["sentence"], strict=True)]
    first = pd.DataFrame(
        {
            "mitigation": [it.name for it, _ in rows],
            "dose": [it.dose for it, _ in rows],
            "held_out": [row.topic not in tuning for _, row in rows],
        }
    )
    return pd.concat([first, table], axis=1)


def _rows(mitigated: Mitigated, plain: Mitigated | None) -> Iterator[Row]:
    """All rows for one mitigation."""
    debates = [study for study in mitigated.studies.values() if study.control == "none"]
    if len({study.control for study in mitigated.studies.values()}) > 1:
        table: Any = controls(mitigated.studies).rename(columns={"control": "at"})
        for made in table[table["statistic"].isin(FROM_CONTROLS)].to_dict("records"):
            yield _again(made)
        if plain is not None and plain is not mitigated:
            yield from _against(mitigated, plain)
    for study in debates:
        for row in (*closing(study), *conduct(study)):
            if row.statistic in FROM_DEBATE and (row.role in study.design["society"]["parties"]):
                yield replace(row, family="", outcome=study.outcome)
        yield from _speech(study)
    yield from _costs(mitigated)
    for study in debates:
        yield from _perplexity(study)


def _again(made: Mapping[str, Any]) -> Row:
    """A row of another table, taken out of its family because this table has more tests."""
    kept = {name: value for name, value in made.items() if name not in ("sentence", "family", "p_holm")}
    return Row(**kept)


def _against(mitigated: Mitigated, plain: Mitigated) -> Iterator[Row]:
    """How much less agents drift and respond with the mitigation than without it."""
    mine, theirs = changes(mitigated.studies), changes(plain.studies)
    seated = [_seated(it) for it in (mitigated, plain)]
    seed = next(iter(plain.studies.values())).seed
    for key in (it for it in mine if it in theirs and key_is_party(plain, it)):
        same = shared(*(it.get(key, {}) for it in seated))
        pairs = {
            "drift_stopped": (_drift(theirs[key]), _drift(mine[key])),
            "response_lost": (_response(theirs[key]), _response(mine[key])),
        }
        for name, (without, treated) in pairs.items():
            if without is None or treated is None:
                continue
            way = np.sign(without.mean()) if name == "drift_stopped" else 1.0
            less: Any = (way * (without - treated)).dropna()
            values = less[less.index.isin(same)].to_numpy(float)
            if len(values):
                numbers = mean_test(values, seed, "two-sided")
                yield Row(name, *key, len(values), PAIRED, few(len(values)), family=FAMILY, **numbers)
            else:
                yield Row(name, *key, 0, PAIRED, "no repetition has the same personas with and without it")


def key_is_party(mitigated: Mitigated, key: tuple[str, str]) -> bool:
    """Whether the role in a (topic, role) key is a party."""
    return any(key[1] in study.design["society"]["parties"] for study in mitigated.studies.values())


def _seated(mitigated: Mitigated) -> dict[tuple[str, str], dict[int, tuple[str, ...]]]:
    found: dict[tuple[str, str], dict[int, tuple[str, ...]]] = {}
    for study in mitigated.studies.values():
        found |= personas(study)
    return found


def _drift(of: Changes) -> "pd.Series | None":
    import pandas as pd

    there = [of[control] for control in UNWARRANTED if control in of]
    return pd.concat(there, axis=1).mean(axis=1, skipna=False) if there else None


def _response(of: Changes) -> "pd.Series | None":
    low, high = of.get("advocates_low"), of.get("advocates_high")
    return None if low is None or high is None else (high - low) / 2


def _speech(study: "Study") -> Iterator[Row]:
    """How much attitudes still differ, and how varied the replies are."""
    for topic in topics(study):
        for role in parties(study, topic):
            mine = ends(study, topic, role)
            values = np.column_stack([mine.first, mine.last])
            n = len(values)
            if n > 1 and values[:, 0].std() > 0:
                samples = bootstrap(generator(study.seed, "spread_kept", topic, role), n, partial(_spread, values))
                low, high = interval(samples, n)
                kept = float(values[:, 1].std() / values[:, 0].std())
                yield Row("spread_kept", topic, role, n, INTERVAL, estimate=kept, ci_low=low, ci_high=high)
            else:
                yield Row("spread_kept", topic, role, n, INTERVAL, "debates do not differ at their start")
            said: Any = study.replies[(study.replies["topic"] == topic) & (study.replies["role"] == role)]
            each = said.groupby("repetition")["text"].agg(_distinct).dropna().to_numpy(float)
            if len(each):
                yield Row("distinct_2", topic, role, len(each), INTERVAL, few(len(each)),
                          **_untested(mean_test(each, study.seed, "two-sided")))  # fmt: skip


def _untested(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A mean and its interval only, for values without a null hypothesis."""
    return {name: numbers[name] for name in ("estimate", "ci_low", "ci_high")}


def _spread(values: Floats, weights: Floats) -> Floats:
    """SD at the end divided by SD at the start, in each bootstrap sample of debates.

    Args:
        values: (debates, 2).
        weights: (samples, debates).
    """
    total = weights.sum(axis=1, keepdims=True)
    mean, square = weights @ values / total, weights @ values**2 / total
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return ratio(deviation[:, 1], deviation[:, 0])


def _distinct(texts: "pd.Series") -> float:
    """The share of distinct pairs among the pairs of neighbouring words in all texts; NaN if there are none."""
    pairs: list[tuple[str, str]] = []
    for text in texts.astype(str):
        words = [word.casefold() for word in _WORD.findall(text)]
        pairs += itertools.pairwise(words)
    return len({*pairs}) / len(pairs) if pairs else np.nan


def _perplexity(study: "Study") -> Iterator[Row]:
    """Perplexity of each party's replies under the unmodified model; empty if `hustings perplexity` was not run."""
    if study.perplexity.empty:
        return
    replies: Any = study.replies.merge(
        study.perplexity, on=["topic", "repetition", "agent", "iteration"], suffixes=("_said", "")
    )
    for topic in topics(study):
        for role in parties(study, topic):
            mine = replies[(replies["topic"] == topic) & (replies["role"] == role)]
            each = mine.groupby("repetition")[["logprob", "tokens"]].sum().to_numpy(float)
            if len(each):
                samples = bootstrap(
                    generator(study.seed, "perplexity", topic, role), len(each), partial(_surprise, each)
                )
                low, high = interval(samples, len(each))
                found = float(_surprise(each, np.ones((1, len(each))))[0])
                yield Row("perplexity", topic, role, len(each), INTERVAL, few(len(each)),
                          estimate=found, ci_low=low, ci_high=high)  # fmt: skip


def _surprise(sums: Floats, weights: Floats) -> Floats:
    """Perplexity in each bootstrap sample of debates.

    Args:
        sums: log-probability and number of tokens of each debate, (debates, 2).
        weights: (samples, debates).
    """
    return np.exp(-ratio(weights @ sums[:, 0], weights @ sums[:, 1]))


def _costs(mitigated: Mitigated) -> Iterator[Row]:
    """Seconds per debate, and tokens read and generated per debate, over all runs together."""
    spent = [study.manifest.spent for study in mitigated.studies.values()]
    debates = int(sum(it.get("played", 0) for it in spent))
    if debates:
        method = "the time and the tokens of all debates, those of the controls included"
        seconds = sum(it.get("seconds", 0.0) for it in spent) / debates
        tokens = sum(it.get("tokens", 0) + it.get("prompt_tokens", 0) for it in spent) / debates
        yield Row("seconds", "", "", debates, method, estimate=seconds)
        yield Row("tokens", "", "", debates, method, estimate=tokens)


_NAMES = {
    "unwarranted_drift": "the unwarranted drift",
    "equivalence": "the test that there is no unwarranted drift",
    "responsiveness": "the responsiveness",
    "closing": "the closing",
    "truncated": "the share of replies that were cut",
    "disclaimer": "the share of replies with a disclaimer",
    "drift_stopped": "the difference in drift",
    "response_lost": "the difference in responsiveness",
    "spread_kept": "the spread that was kept",
    "distinct_2": "the share of different word pairs",
}
"""Names of the statistics in sentences."""


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    """A row as a sentence that follows the name of the mitigation."""
    topic = where(row, labels) if row.topic else ""
    named = _NAMES.get(row.statistic, row.statistic)
    if np.isnan(row.estimate):
        agents = f" of {who(row, labels)}" if row.role else ""
        on = f" on {topic}" if topic else ""
        return f"{named}{agents}{on} is not estimable{': ' if row.remark else ''}{row.remark}."
    seen = evidence(row, "repetitions")
    match row.statistic:
        case "drift_stopped":
            less = "less" if row.estimate >= 0 else "more"
            said = f"{who(row, labels)} drifted {size(row)} {less} without a reason on {topic} ({seen})"
        case "response_lost":
            less = "less" if row.estimate >= 0 else "more"
            said = f"{who(row, labels)} followed advocates {size(row)} {less} on {topic} ({seen})"
        case "equivalence":
            shown = "is" if row.p < 0.05 else "is not"
            said = f"the unwarranted drift of {who(row, labels)} on {topic} {shown} shown to be about none ({seen})"
        case "truncated" | "disclaimer":
            what = "were cut at the limit" if row.statistic == "truncated" else "have a disclaimer"
            said = f"{row.estimate:.0%} of {whose(row, labels)} replies on {topic} {what}"
        case "spread_kept":
            said = f"{whose(row, labels)} attitudes on {topic} kept {row.estimate:.0%} of their spread"
        case "distinct_2":
            said = f"{row.estimate:.0%} of word pairs in {whose(row, labels)} replies on {topic} differ"
        case "perplexity":
            said = f"{whose(row, labels)} replies on {topic} have a perplexity of {row.estimate:.1f}"
        case "seconds" | "tokens":
            said = f"a debate took {row.estimate:,.0f} {row.statistic}"
        case _:
            said = f"{named} of {who(row, labels)} on {topic} is {row.estimate:.2f} ({seen})"
    return f"{said}{'; ' if row.remark else ''}{row.remark}."
