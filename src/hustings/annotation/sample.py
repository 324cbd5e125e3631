"""Replies for people to rate: drawn evenly from roles, topics and rounds, shuffled, and without names and parties."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.analysis.blind import blind
from hustings.errors import SettingsError
from hustings.files import write_table
from hustings.identity import identity, seed_of
from hustings.page import write_form
from hustings.study import Study

if TYPE_CHECKING:
    import pandas as pd

FORM, SHEET = "form.html", "replies.csv"
RATED = ["id", "topic", "text", "rating", "note", "rater"]
"""Columns of the sheet; raters fill in those from `rating` on, and send it back."""


def id_of(topic: str, text: str) -> str:
    """The id of a reply on a sheet; it does not reveal who speaks, and identical replies share one id."""
    return identity([topic, text])


def replies(study: Study) -> "pd.DataFrame":
    """All distinct replies of a run.

    Returns:
        The columns of records.REPLIES, and `id`, `blind` (the text that raters read) and `round` (counted over the
        agent's own replies).
    """
    said: Any = study.replies.assign(blind=blind(study))
    said = said.assign(round=said.groupby(["topic", "repetition", "agent"]).cumcount() + 1)
    said = said[said["blind"].str.strip() != ""]
    ids = [id_of(topic, text) for topic, text in zip(said["topic"], said["blind"], strict=True)]
    return said.assign(id=ids).drop_duplicates("id")


def sample(study: Study, count: int, seed: int) -> "pd.DataFrame":
    """A sample of replies, spread as evenly as possible over roles, topics and rounds, in a seeded random order.

    Returns:
        The columns of `replies`.

    Raises:
        SettingsError: nobody speaks in the run.
    """
    said = replies(study)
    if said.empty:
        raise SettingsError(f"{study.folder}: nobody speaks in this run, so there is nothing to rate.")
    drawn = said.assign(lot=[seed_of(seed, it, "annotation") for it in said["id"]])
    drawn = drawn.sort_values("lot", kind="stable")
    turn: Any = drawn.groupby(["topic", "role", "round"]).cumcount()
    chosen = drawn.assign(turn=turn).sort_values(["turn", "lot"], kind="stable").head(count)
    return chosen.sort_values("lot", kind="stable", ignore_index=True)


def export(study: Study, folder: Path, count: int, seed: int) -> int:
    """Write a form and a sheet with the same replies, for people to rate.

    Returns:
        The number of replies on them.

    Raises:
        SettingsError: nobody speaks in the run.
        ArtifactError: the folder cannot be written.
    """
    chosen = sample(study, count, seed)
    topics = study.design["topics"]
    items: list[dict[str, str]] = []
    for name, topic, text in zip(chosen["id"], chosen["topic"], chosen["blind"], strict=True):
        of = topics[topic]
        asked = {"topic": of["label"], "question": of["question"], "low": of["low"], "high": of["high"]}
        items.append({"id": name, **asked, "text": text})
    sheet = chosen.assign(text=chosen["blind"], rating="", note="", rater="")
    sheet["topic"] = [topics[it]["label"] for it in chosen["topic"]]
    write_table(folder / SHEET, sheet[RATED])
    write_form(items, folder / FORM)
    return len(items)
