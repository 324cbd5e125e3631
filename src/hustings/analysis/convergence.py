"""How far roles move: convergence to the Default, echo, crossing; and the resampling that every statistic shares.

The debate is the unit: agents of one role in one debate are averaged first. It does not know labels or sentences.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hustings.analysis.curves import Outcome

DEFAULT = "default"
RESAMPLES = 10_000
TESTS = [
    "statistic",
    "topic",
    "role",
    "n",
    "estimate",
    "ci_low",
    "ci_high",
    "effect_size",
    "p",
    "method",
    "remark",
]
"""`remark` says why a row has no estimate, or what its reader must bear in mind; empty otherwise."""
SMALL = 10
"""Debates below which a percentile interval is clearly too narrow."""

Poles = Mapping[tuple[str, str], Literal["low", "high"]]
Floats = NDArray[np.float64]

BUNDLES = 2_000
"""Units beyond which a bootstrap draws random bundles of units: as wide an interval at a bounded cost."""
INTERVAL = f"95 % expanded percentile bootstrap over debates ({RESAMPLES:,})"

_CHUNK = 4_000_000
SPREAD = 0.005
"""Points within which values are one value: engines round, so that the same question asked twice differs by less."""
_SAME = 1e-9


def tidy(attitudes: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """The table of one run with its outcome as floats, in an order that is the table's own and not its rows'.

    Args:
        attitudes: the tidy table of records.attitudes, of one composition, model, adapter and seed.

    Returns:
        Columns topic, repetition, iteration, agent, role, value (NaN where invalid) and valid.

    Raises:
        ValueError: the table mixes runs, whose debates must not be averaged.
    """
    for key in ("composition", "model", "adapter", "seed"):
        if key in attitudes and attitudes[key].nunique(dropna=False) > 1:
            raise ValueError(f"attitudes: several values of {key!r} in one table; give the statistics one run each.")
    keys = ["topic", "repetition", "iteration", "agent"]
    table = attitudes[[*keys, "role", "valid"]].copy()
    table["value"] = attitudes[outcome].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return table.sort_values(keys, kind="stable", ignore_index=True)


def cells(table: pd.DataFrame, poles: Poles) -> dict[str, list[str]]:
    """Topic → its partisan roles: those in the table, and those that `poles` says there should be, in order."""
    topics = sorted({*table["topic"], *(topic for _, topic in poles)})
    present = {*table["role"]}
    return {
        topic: sorted({*present, *(role for role, about in poles if about == topic)} - {DEFAULT}) for topic in topics
    }


def last_iteration(table: pd.DataFrame) -> int:
    """T: the last iteration at which anybody was asked; debates cut short before it have no final answer."""
    return int(table["iteration"].max()) if len(table) else 0


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers of one test, whatever other topics and roles the run has."""
    return np.random.default_rng([seed, zlib.crc32("/".join(names).encode())])


def resample(rng: np.random.Generator, units: int) -> Iterator[Floats]:
    """How often each unit is drawn in each of RESAMPLES bootstrap samples.

    Returns:
        Chunks of shape (samples, units); a chunk's size bounds memory, not results.
    """
    bundles = min(units, BUNDLES)
    bundle = rng.permutation(np.arange(units) % bundles) if units > bundles else None
    left = RESAMPLES
    while left > 0:
        samples = min(left, max(1, _CHUNK // units))
        drawn = rng.integers(0, bundles, size=(samples, bundles))
        drawn += np.arange(samples)[:, None] * bundles
        counts = np.bincount(drawn.ravel(), minlength=samples * bundles).reshape(samples, bundles).astype(float)
        yield counts if bundle is None else counts[:, bundle]
        left -= samples


def bootstrap(rng: np.random.Generator, units: int, of: Callable[[Floats], Floats]) -> Floats:
    """Resampled statistics.

    Args:
        of: from weights (samples, units) to statistics (samples, k); NaN where a sample does not tell.

    Returns:
        Shape (RESAMPLES, k).
    """
    return np.concatenate([of(weights) for weights in resample(rng, units)])


def interval(samples: Floats, units: int) -> tuple[float, float]:
    """95 % expanded percentile interval of one statistic's samples; those that did not tell are left out.

    Plain percentiles are too narrow for few units: they use the normal's tails and divide by n. The percentiles
    are moved out to where Student's t and n − 1 would put them.
    Source: Hesterberg (2015), What Teachers Should Know About the Bootstrap, The American Statistician 69(4).

    Args:
        units: that were resampled.
    """
    from scipy.stats import norm, t

    tail = 100 * float(norm.cdf(-((units / (units - 1)) ** 0.5) * t.ppf(0.975, units - 1)))
    low, high = np.percentile(samples[np.isfinite(samples)], [tail, 100 - tail])
    return float(low), float(high)


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def sign_flip(values: Floats, rng: np.random.Generator, alternative: Literal["greater", "two-sided"]) -> float:
    """Permutation p of a mean against 0, by flipping signs: all 2ⁿ ways where they are few, else 10,000 at random.

    Args:
        values: one a debate, (n,).
    """
    n = len(values)
    total = float(values.sum())
    slack = _SAME * max(float(np.abs(values).sum()), 1e-300)

    def extreme(flipped: Floats) -> int:
        sums = total - 2 * (flipped @ values)
        if alternative == "greater":
            return int((sums >= total - slack).sum())
        return int((np.abs(sums) >= abs(total) - slack).sum())

    if 2**n <= RESAMPLES:
        ways = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return extreme(ways.astype(float)) / 2**n
    left, count = RESAMPLES, 0
    while left > 0:
        samples = min(left, max(1, _CHUNK // n))
        count += extreme(rng.integers(0, 2, size=(samples, n), dtype=np.int8).astype(float))
        left -= samples
    return (count + 1) / (RESAMPLES + 1)


def row(statistic: str, topic: str, role: str, n: int, method: str, remark: str = "", **numbers: float) -> Any:
    """One row of a table of TESTS; numbers that are not given are empty."""
    empty = dict.fromkeys(("estimate", "ci_low", "ci_high", "effect_size", "p"), np.nan)
    given = {"statistic": statistic, "topic": topic, "role": role, "n": n, "method": method, "remark": remark}
    return {**given, **empty, **numbers}


def tests(rows: list[Any]) -> pd.DataFrame:
    """Rows as a table with columns TESTS."""
    numbers = dict.fromkeys(("estimate", "ci_low", "ci_high", "effect_size", "p"), float)
    return pd.DataFrame(rows, columns=TESTS).astype({"n": int, **numbers})


def few(n: int) -> str:
    """The remark on a percentile interval from few debates."""
    return f"with fewer than {SMALL} debates the bootstrap interval is too narrow" if n < SMALL else ""


def at_zero(table: pd.DataFrame, topic: str) -> pd.Series:
    """The Default's own score at iteration 0 by repetition: empty where it was not asked or gave no valid answer."""
    asked = table[(table["topic"] == topic) & (table["role"] == DEFAULT) & (table["iteration"] == 0)]
    return asked.dropna(subset=["value"]).groupby("repetition")["value"].mean()


def no_bias(table: pd.DataFrame, topic: str) -> str:
    """Why there is no b on a topic."""
    asked = ((table["topic"] == topic) & (table["role"] == DEFAULT)).any()
    return "the Default gave no valid answer at iteration 0" if asked else "no Default agent was asked"


def ends(table: pd.DataFrame, topic: str, role: str, last: int) -> pd.DataFrame:
    """A(d,r,0) and A(d,r,T), the mean over the role's agents that gave valid answers at both.

    Returns:
        Columns first and last, by repetition.
    """
    mine = table[(table["topic"] == topic) & (table["role"] == role)].dropna(subset=["value"])
    keys = ["repetition", "agent"]
    first = mine[mine["iteration"] == 0].set_index(keys)["value"]
    final = mine[mine["iteration"] == last].set_index(keys)["value"]
    both = pd.concat([first, final], axis=1, join="inner", keys=["first", "last"])
    return both.groupby(level="repetition").mean()


def _untestable(table: pd.DataFrame, topic: str, role: str, last: int, changes: Floats) -> str:
    """Why the mean of one value a debate cannot be tested; empty when it can."""
    there = (table["topic"] == topic) & (table["role"] == role)
    if not there.any():
        return "no such agent took part"
    if last == 0:
        return "nobody was asked after iteration 0"
    if len(changes) == 0:
        if table.loc[there, "value"].isna().all():
            return "every answer was invalid"
        return f"no debate has valid answers at both iterations 0 and {last}"
    if len(changes) == 1:
        return "one debate only"
    if np.ptp(changes) <= SPREAD:
        return f"every debate gave the same value, {abs(float(changes.mean())):.2f} points (zero variance)"
    return ""


def tested(
    values: Floats,
    samples: Floats,
    rng: np.random.Generator,
    alternative: Literal["greater", "two-sided"],
) -> dict[str, float]:
    """The mean of one value a debate: its interval from `samples` of it, Cohen's d and p of a sign-flip test."""
    low, high = interval(samples, len(values))
    mean = float(values.mean())
    effect = mean / float(values.std(ddof=1))
    p = sign_flip(values, rng, alternative)
    return {"estimate": mean, "ci_low": low, "ci_high": high, "effect_size": effect, "p": p}


def convergence(attitudes: pd.DataFrame, poles: Poles, outcome: Outcome, seed: int) -> pd.DataFrame:
    """Convergence to the Default by topic and role (Source: protocol.md, convergence).

    c = |A(d,r,0) − b| − |A(d,r,T) − b| in points, > 0: moved to the Default; b is the mean over debates of the
    Default's own scores at iteration 0. Bootstrap samples are of whole debates, so that b is estimated again in
    each. `effect_size` is Cohen's d_z. p is one-sided.

    Args:
        attitudes: the tidy table of records.attitudes, of one run.
        poles: of the run's parties and topics; each gets a row, whatever the table holds.

    Returns:
        Columns TESTS.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, outcome)
    last = last_iteration(table)
    method = f"{INTERVAL}; one-sided sign-flip permutation; effect size: Cohen's d_z"
    rows: list[Any] = []
    for topic, roles in cells(table, poles).items():
        default = at_zero(table, topic)
        bias = float(default.mean()) if len(default) else 0.0
        for role in roles:
            pairs = ends(table, topic, role, last)
            first, final = pairs["first"].to_numpy(float), pairs["last"].to_numpy(float)
            moved = np.abs(first - bias) - np.abs(final - bias)
            why = "" if len(default) else no_bias(table, topic)
            why = why or _untestable(table, topic, role, last, moved)
            if why:
                rows.append(row("convergence", topic, role, len(moved), method, why))
                continue
            samples = _convergence_samples(pairs, default, bias, generator(seed, "debates", topic))
            numbers = tested(moved, samples, generator(seed, "signs", topic, role), "greater")
            rows.append(row("convergence", topic, role, len(moved), method, few(len(moved)), **numbers))
    return tests(rows)


def _convergence_samples(pairs: pd.DataFrame, default: pd.Series, bias: float, rng: np.random.Generator) -> Floats:
    """Mean convergence in each bootstrap sample of the debates that have a pair, a Default's answer, or both."""
    debates = pairs.index.union(default.index)
    aligned = pairs.reindex(debates)
    there = aligned["first"].notna().to_numpy()
    first, final = aligned["first"].fillna(0.0).to_numpy(float), aligned["last"].fillna(0.0).to_numpy(float)
    own = default.reindex(debates)
    asked, own = own.notna().to_numpy(float), own.fillna(0.0).to_numpy(float)

    def means(weights: Floats) -> Floats:
        inside = weights * there
        if np.ptp(default.to_numpy(float)) == 0:
            sums = inside @ (np.abs(first - bias) - np.abs(final - bias))
        else:
            b = ratio(weights @ own, weights @ asked)[:, None]
            sums = (inside * (np.abs(first - b) - np.abs(final - b))).sum(axis=1)
        return ratio(sums, inside.sum(axis=1))

    return bootstrap(rng, len(debates), means)


def echo(attitudes: pd.DataFrame, poles: Poles, outcome: Outcome, seed: int) -> pd.DataFrame:
    """Movement to a party's own pole by topic and role (Source: protocol.md, echo).

    (A(d,r,T) − A(d,r,0)) signed towards the pole, in points: > 0 intensifies, < 0 moderates. `effect_size` is
    Cohen's d_z. p is two-sided.

    Args:
        attitudes: the tidy table of records.attitudes, of one run.
        poles: where each party stands on each topic.

    Returns:
        Columns TESTS.

    Raises:
        ValueError: the table mixes runs.
    """
    table = tidy(attitudes, outcome)
    last = last_iteration(table)
    method = f"{INTERVAL}; two-sided sign-flip permutation; effect size: Cohen's d_z"
    rows: list[Any] = []
    for topic, roles in cells(table, poles).items():
        for role in roles:
            pairs = ends(table, topic, role, last)
            moved = (pairs["last"] - pairs["first"]).to_numpy(float)
            pole = poles.get((role, topic))
            why = "" if pole else "the party has no pole on this topic"
            why = why or _untestable(table, topic, role, last, moved)
            if why:
                rows.append(row("echo", topic, role, len(moved), method, why))
                continue
            signed = moved if pole == "high" else -moved
            samples = bootstrap(generator(seed, "debates", topic), len(signed), _mean(signed))
            numbers = tested(signed, samples, generator(seed, "signs", topic, role), "two-sided")
            rows.append(row("echo", topic, role, len(signed), method, few(len(signed)), **numbers))
    return tests(rows)


def _mean(values: Floats) -> Callable[[Floats], Floats]:
    return lambda weights: weights @ values / len(values)


def crossing(attitudes: pd.DataFrame, poles: Poles, outcome: Outcome) -> pd.DataFrame:
    """Share of debates in which a role ends beyond the Default's own line (Source: protocol.md, crossing).

    The line is the Default's own score in that debate, at iteration 0 and at T; where it does not speak, b at both.
    Debates in which the role starts on the line have no side to cross from and are left out.

    Args:
        attitudes: the tidy table of records.attitudes, of one run.
        poles: of the run's parties and topics; each gets a row, whatever the table holds.

    Returns:
        Columns TESTS, without p and effect size; the interval is Wilson's, 95 %.

    Raises:
        ValueError: the table mixes runs.
    """
    from scipy.stats import binomtest

    table = tidy(attitudes, outcome)
    last = last_iteration(table)
    method = "share of debates; 95 % Wilson interval; debates that start on the Default's line left out"
    rows: list[Any] = []
    for topic, roles in cells(table, poles).items():
        default = at_zero(table, topic)
        line = ends(table, topic, DEFAULT, last)
        speaks = bool(((table["role"] == DEFAULT) & (table["iteration"] > 0)).any())
        for role in roles:
            pairs = ends(table, topic, role, last)
            if not speaks and len(default):
                line = pd.DataFrame({"first": default.mean(), "last": default.mean()}, index=pairs.index)
            both = pairs.join(line.add_suffix("_default"), how="inner")
            start = (both["first"] - both["first_default"]).to_numpy(float)
            end = (both["last"] - both["last_default"]).to_numpy(float)
            off = np.abs(start) > _SAME
            crossed = int(((np.abs(end) > _SAME) & (start * end < 0) & off).sum())
            n = int(off.sum())
            why = "" if len(default) else no_bias(table, topic)
            why = why or _uncrossable(table, topic, role, last, pairs, n)
            if why:
                rows.append(row("crossing", topic, role, n, method, why))
                continue
            wilson = binomtest(crossed, n).proportion_ci(method="wilson")
            low, high = float(wilson.low), float(wilson.high)
            rows.append(row("crossing", topic, role, n, method, estimate=crossed / n, ci_low=low, ci_high=high))
    return tests(rows)


def _uncrossable(table: pd.DataFrame, topic: str, role: str, last: int, pairs: pd.DataFrame, n: int) -> str:
    """Why there is no share of debates with a crossing; empty when there is."""
    if n >= 2:
        return ""
    if n == 1:
        return "one debate only" if len(pairs) == 1 else "one debate only in which it can be told"
    why = _untestable(table, topic, role, last, np.arange(len(pairs), dtype=float))
    if why:
        return why
    return "in no debate did they start off the Default's line and both have valid answers"
