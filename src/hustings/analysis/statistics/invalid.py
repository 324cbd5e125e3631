"""Invalid answers: how often could an agent's answer to the survey not be used?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hustings.analysis.measures import cells
from hustings.analysis.resampling import INTERVAL, Floats, bootstrap, few, generator, interval, ratio
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, share, where, who
from hustings.settings.debate import DEFAULT

if TYPE_CHECKING:
    from hustings.study import Study

METHOD = f"share of survey answers; {INTERVAL}"


def invalid(study: "Study") -> Iterator[Row]:
    """Rows by topic and role, the Default included (Source: protocol.md, surveys).

    n is debates; the interval resamples debates and is missing where all of them have the same share.
    """
    table = study.attitudes
    default = [DEFAULT] if (table["role"] == DEFAULT).any() else []
    for topic, roles in cells(table, study.poles).items():
        for role in [*roles, *default]:
            mine = table[(table["topic"] == topic) & (table["role"] == role)]
            groups = (~mine["valid"].astype(bool)).groupby(mine["repetition"])
            wrong, asked = np.asarray(groups.sum(), dtype=np.float64), np.asarray(groups.count(), dtype=np.float64)
            n = len(asked)
            if n == 0:
                yield Row("invalid", topic, role, 0, METHOD, "no agent of this role took part")
                continue
            numbers = {"estimate": float(wrong.sum() / asked.sum())}
            if np.ptp(wrong / asked) > 0:

                def shares(weights: Floats, wrong: Floats = wrong, asked: Floats = asked) -> Floats:
                    return ratio(weights @ wrong, weights @ asked)

                samples = bootstrap(generator(study.seed, "invalid", topic), n, shares)
                numbers["ci_low"], numbers["ci_high"] = interval(samples, n)
            yield Row("invalid", topic, role, n, METHOD, few(n) if "ci_low" in numbers else "", **numbers)


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    return f"{share(row)} of {who(row, labels)}' answers on {where(row, labels)} were invalid ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="invalid",
        title="the share of invalid answers",
        about="How many survey answers could not be used?",
        function=invalid,
        sentence=_sentence,
        order=70,
    ),
)
