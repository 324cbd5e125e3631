"""How far raters agree on what was said, and how far the judge agrees with them.

Ordinal Krippendorff α is from the package `krippendorff`, weighted κ from statsmodels.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hustings.analysis.resampling import Floats, generator
from hustings.annotation.sample import replies
from hustings.errors import RecordError
from hustings.files import trouble, write_table

if TYPE_CHECKING:
    import pandas as pd

    from hustings.study import Study

VALUES = tuple(range(-3, 4))
NONE = "none"
AGREEMENT, DISAGREEMENTS = "agreement.csv", "disagreements.csv"
TENTATIVE = 0.667
"""Krippendorff advises against conclusions if α is below this (Content Analysis, 4th edition, 2018, p. 356)."""
WIDE = 2.0
"""A reply whose ratings are this many steps apart is worth reading."""
_RESAMPLES = 1000
_NUMBER = re.compile(r"[+-]?[0-3](?:\.0+)?")

Rating = float | str
"""A number from −3 to +3, or NONE."""
Ratings = Mapping[str, Mapping[str, Rating]]
"""Ratings by rater, then by reply."""


@dataclass(frozen=True, slots=True)
class Read:
    """The ratings that raters sent back."""

    ratings: Ratings
    texts: Mapping[str, tuple[str, str]]
    """Topic and text of each reply."""


def read(paths: Sequence[Path]) -> Read:
    """Read the ratings in raters' files; a file with an empty column `rater` counts as one rater, named after the file.

    Raises:
        RecordError: a file cannot be read, a rating is invalid, or a rater gave one reply two ratings.
    """
    ratings: dict[str, dict[str, Rating]] = {}
    texts: dict[str, tuple[str, str]] = {}
    for path in paths:
        for number, row in _rows(path):
            texts.setdefault(row["id"], (row.get("topic") or "", row.get("text") or ""))
            rating = _rating(row["rating"] or "", f"{path}, line {number}")
            if rating is None:
                continue
            rater = (row.get("rater") or "").strip() or path.stem
            mine = ratings.setdefault(rater, {})
            if mine.setdefault(row["id"], rating) != rating:
                raise RecordError(
                    f"{path}, line {number}: {rater} rated this reply before, otherwise ({mine[row['id']]}); give "
                    "different raters different names in the column rater, or keep one of the ratings."
                )
    if not ratings:
        raise RecordError(f"{', '.join(map(str, paths))}: nothing is rated in these files; fill the column rating.")
    return Read(ratings, texts)


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Numbered rows of a file, separated by commas or, as spreadsheets in many countries write them, semicolons."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: this is not UTF-8 text; save the sheet as CSV in UTF-8.") from error
    except OSError as error:
        raise RecordError(trouble(error) or f"{path}: this file cannot be read ({error.strerror}).") from error
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        text.splitlines(keepends=True), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    lacking = [it for it in ("id", "rating") if it not in (reader.fieldnames or ())]
    if lacking:
        raise RecordError(
            f"{path}: this is no sheet of ratings (it lacks the column {lacking[0]}); give the ratings.csv that a form "
            "saved, or the replies.csv of `hustings annotate export` with its column rating filled in."
        )
    return [(reader.line_num, row) for row in reader if row["id"]]


def _rating(text: str, where: str) -> Rating | None:
    """A rating as it was typed; None if the cell is empty.

    Raises:
        RecordError: it is not a rating.
    """
    plain = text.strip().replace("−", "-").replace("–", "-").lower()
    if not plain:
        return None
    if plain == NONE:
        return NONE
    if _NUMBER.fullmatch(plain):
        return float(plain) + 0.0
    raise RecordError(
        f"{where}: rating={text!r}: must be a whole number from -3 to +3, none, or empty where not rated."
    )


def majority(given: Iterable[Rating]) -> Rating | None:
    """The most frequent rating. Ties go to the number nearest to the mean, then to the one nearest to 0.

    It is None if nobody rated.
    """
    counts = Counter(given)
    if not counts:
        return None
    most = [rating for rating, count in counts.items() if count == max(counts.values())]
    numbers = [it for it in most if isinstance(it, float)]
    known = [it for it in counts.elements() if isinstance(it, float)]
    return min(numbers, key=lambda it: (abs(it - float(np.mean(known))), abs(it)), default=NONE)


def alpha(ratings: Ratings, seed: int, *, stance: bool) -> dict[str, Any]:
    """Krippendorff's α between raters, with a percentile interval from 1,000 resamples of the replies.

    Args:
        stance: True for ordinal α of the stances from −3 to +3; False for nominal α of whether there is any stance.

    Returns:
        estimate, ci_low, ci_high, n (replies with this kind of rating from two or more raters); NaN where undefined.
    """
    counts = _counted(ratings, stance=stance)
    counts = counts[counts.sum(axis=1) > 1]
    estimate, n = _alpha(counts, stance=stance), len(counts)
    low = high = np.nan
    if n > 1 and np.isfinite(estimate):
        rng = generator(seed, "alpha", str(stance))
        draws = np.array([_alpha(counts[rng.integers(0, n, n)], stance=stance) for _ in range(_RESAMPLES)])
        known = draws[np.isfinite(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {"estimate": estimate, "ci_low": float(low), "ci_high": float(high), "n": n}


def _counted(ratings: Ratings, *, stance: bool) -> Floats:
    """Number of raters that gave each value, (replies, values)."""
    ids = sorted({it for each in ratings.values() for it in each})
    counts = np.zeros((len(ids), len(VALUES) if stance else 2))
    for each in ratings.values():
        for name, rating in each.items():
            if not stance:
                counts[ids.index(name), int(rating == NONE)] += 1
            elif isinstance(rating, float):
                counts[ids.index(name), VALUES.index(int(rating))] += 1
    return counts


def _alpha(counts: Floats, *, stance: bool) -> float:
    import krippendorff

    if len(counts) == 0 or (counts.sum(axis=0) > 0).sum() < 2:
        return np.nan
    domain = VALUES if stance else (0, 1)
    level = "ordinal" if stance else "nominal"
    return float(krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level))


def kappa(one: Sequence[float], two: Sequence[float]) -> dict[str, Any]:
    """Cohen's κ of two raters' stances, with quadratic weights and an asymptotic 95 % interval.

    Returns:
        estimate, ci_low, ci_high, n; NaN if a rater gave only one value.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.zeros((len(VALUES), len(VALUES)))
    for a, b in zip(one, two, strict=True):
        table[VALUES.index(int(a)), VALUES.index(int(b))] += 1
    varied = min((table.sum(axis=axis) > 0).sum() for axis in (0, 1)) > 1
    if not varied:
        return {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": len(one)}
    found: Any = cohens_kappa(table, wt="quadratic")
    return {"estimate": float(found.kappa), "ci_low": float(found.kappa_low), "ci_high": float(found.kappa_upp),
            "n": len(one)}  # fmt: skip


def judged(study: "Study") -> dict[str, dict[str, Rating]]:
    """The judges' stances by judge and reply, rounded to whole numbers."""
    if study.stances is None:
        return {}
    place = ["topic", "repetition", "agent", "iteration"]
    joined: Any = study.stances.merge(replies(study)[[*place, "id"]], on=place)
    found: dict[str, dict[str, Rating]] = {}
    for judge, name, stance in zip(joined["judge"], joined["id"], joined["stance"], strict=True):
        found.setdefault(judge, {})[name] = NONE if stance != stance else float(np.rint(stance)) + 0.0
    return found


def agreement(given: Read, study: "Study | None") -> "pd.DataFrame":
    """How far raters agree with each other, and how far their majority agrees with each judge of the run.

    Args:
        study: the run from which the replies were taken.

    Returns:
        Columns measure, judge, n (replies), estimate, ci_low, ci_high, sentence.
    """
    import pandas as pd

    seed = 1 if study is None else study.seed
    raters = len(given.ratings)
    rows: list[dict[str, Any]] = []
    for stance in (True, False):
        found = alpha(given.ratings, seed, stance=stance)
        name = "alpha_ordinal" if stance else "alpha_none"
        rows.append({"measure": name, "judge": "", **found, "sentence": _of_alpha(found, raters, stance=stance)})
    for judge, stances in ({} if study is None else judged(study)).items():
        both = [(a, b) for name in given.texts if isinstance(a := _majority(given, name), float)
                and isinstance(b := stances.get(name), float)]  # fmt: skip
        found = kappa([a for a, _ in both], [b for _, b in both])
        rows.append({"measure": "kappa_weighted", "judge": judge, **found, "sentence": _of_kappa(found, judge)})
    return pd.DataFrame(rows, columns=["measure", "judge", "n", "estimate", "ci_low", "ci_high", "sentence"])


def _majority(given: Read, name: str) -> Rating | None:
    return majority(each[name] for each in given.ratings.values() if name in each)


def _span(found: Mapping[str, Any]) -> str:
    between = f" [{found['ci_low']:.2f}, {found['ci_high']:.2f}]" if np.isfinite(found["ci_low"]) else ""
    return f"{found['estimate']:.2f}{between}"


def _of_alpha(found: Mapping[str, Any], raters: int, *, stance: bool) -> str:
    what = "the stance (ordinal)" if stance else "whether there is a stance at all (nominal)"
    if not np.isfinite(found["estimate"]):
        why = "there is only one rater" if raters == 1 else "no two raters rated one reply, or all gave one rating"
        return f"Krippendorff's α on {what} is not estimable: {why}."
    advice = "; below 0.667 Krippendorff advises against conclusions" if found["estimate"] < TENTATIVE else ""
    return f"On {what}, Krippendorff's α of {raters} raters is {_span(found)} (n = {found['n']} replies){advice}."


def _of_kappa(found: Mapping[str, Any], judge: str) -> str:
    if not np.isfinite(found["estimate"]):
        return f"Weighted κ of the majority and the judge {judge} is not estimable: one of them gave one rating only."
    return f"Weighted κ of the raters' majority and the judge {judge} is {_span(found)} (n = {found['n']} replies)."


def disagreements(given: Read, study: "Study | None") -> "pd.DataFrame":
    """Replies on which raters differ by two or more steps, or on whether there is a stance, or differ from the judge.

    Returns:
        Columns id, topic, role and iteration (empty without a study), text, one column for each rater, majority, the
        last judge's stance, and `apart`: the largest difference in steps, among raters or between their majority and
        the judge; it is WIDE if only one side finds a stance. Largest differences come first.
    """
    import pandas as pd

    judges = {} if study is None else judged(study)
    judge = next(reversed(judges), "")
    who: dict[str, Any] = {} if study is None else {it["id"]: it for it in replies(study).to_dict("records")}
    rows: list[dict[str, Any]] = []
    for name, (topic, text) in given.texts.items():
        each = {rater: mine[name] for rater, mine in given.ratings.items() if name in mine}
        numbers = [it for it in each.values() if isinstance(it, float)]
        mixed = 0 < len(numbers) < len(each)
        spread = max(numbers) - min(numbers) if numbers else 0.0
        most, other = _majority(given, name), judges.get(judge, {}).get(name)
        apart = max(spread, _steps(most, other), WIDE if mixed else 0.0)
        speaker = who.get(name, {})
        row = {"id": name, "topic": topic, "role": speaker.get("role", ""), "iteration": speaker.get("iteration"),
               "text": text, **{f"rating of {rater}": _typed(each.get(rater)) for rater in given.ratings},
               "majority": _typed(most), **({f"judge {judge}": _typed(other)} if judge else {}),
               "apart": apart}  # fmt: skip
        rows += [row] if each else []
    table = pd.DataFrame(rows)
    return table[table["apart"] >= WIDE].sort_values("apart", ascending=False, kind="stable", ignore_index=True)


def _steps(one: Rating | None, two: Rating | None) -> float:
    """Steps between two ratings; WIDE if only one of them is a stance."""
    if one is None or two is None or one == two:
        return 0.0
    return abs(one - two) if isinstance(one, float) and isinstance(two, float) else WIDE


def _typed(rating: Rating | None) -> str:
    """A rating in the form that people type it."""
    if rating is None or isinstance(rating, str):
        return rating or ""
    return f"{rating:+.0f}" if rating else "0"


def write(given: Read, study: "Study | None", folder: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Write agreement.csv and disagreements.csv into a folder; return both tables.

    Raises:
        RecordError: none of the rated replies is from the study.
    """
    if study is not None and not {*given.texts} & {*replies(study)["id"]}:
        raise RecordError(
            f"{study.folder}: none of the rated replies is from this run; name the run that was exported."
        )
    found, apart = agreement(given, study), disagreements(given, study)
    write_table(folder / AGREEMENT, found)
    write_table(folder / DISAGREEMENTS, apart)
    return found, apart
