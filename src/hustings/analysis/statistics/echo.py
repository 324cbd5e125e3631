"""Echo: do agents move towards their own party's pole, or away from it?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hustings.analysis.measures import cells, ends, last_iteration, no_change
from hustings.analysis.resampling import INTERVAL, Floats, bootstrap, few, generator, mean_test
from hustings.analysis.statistic import Row, Statistic
from hustings.analysis.wording import evidence, size, where, who

if TYPE_CHECKING:
    from hustings.study import Study

METHOD = f"{INTERVAL}; two-sided sign-flip permutation test; effect size: Cohen's d_z"


def echo(study: "Study") -> Iterator[Row]:
    """Rows by topic and role (Source: protocol.md, echo).

    A(d,r,T) − A(d,r,0) in points, signed towards the pole: > 0 intensifies, < 0 moderates. p is two-sided.
    """
    answers, seed, poles = study.answers, study.seed, study.poles
    last = last_iteration(answers)
    for topic, roles in cells(answers, poles).items():
        for role in roles:
            pairs = ends(answers, topic, role, last)
            moved = (pairs["last"] - pairs["first"]).to_numpy(float)
            pole = poles.get((role, topic))
            why = "" if pole else "the party has no pole on this topic"
            why = why or no_change(answers, topic, role, last, moved)
            if why:
                yield Row("echo", topic, role, len(moved), METHOD, why)
                continue
            signed: Floats = moved if pole == "high" else -moved

            def means(weights: Floats, signed: Floats = signed) -> Floats:
                return weights @ signed / len(signed)

            samples = bootstrap(generator(seed, "debates", topic), len(signed), means)
            numbers = mean_test(signed, samples, generator(seed, "signs", topic, role), "two-sided")
            yield Row("echo", topic, role, len(signed), METHOD, few(len(signed)), **numbers)


def _sentence(row: Row, labels: Mapping[str, str]) -> str:
    way = "towards" if row.estimate >= 0 else "away from"
    return f"{who(row, labels)} moved {size(row)} {way} their own pole on {where(row, labels)} ({evidence(row)})"


STATISTICS = (
    Statistic(
        name="echo",
        title="movement towards their own pole",
        about="Did the debate push agents towards their own party's pole, or away from it?",
        function=echo,
        sentence=_sentence,
        family="tests",
        order=20,
    ),
)
