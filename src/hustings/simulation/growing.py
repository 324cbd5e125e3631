"""Decides when to draw the page of a run in progress. It does not know what is on the page or how a run is played."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hustings.progress import Progress, say
from hustings.runfolder import REPORT

if TYPE_CHECKING:
    from hustings.study import Study

EVERY = 60.0
"""Seconds before the first drawing, and at least between any two."""
_SHARE = 20
"""The next drawing waits for at least this many times as long as the last one took."""

Draw = Callable[["Study", int, int], None]
"""Draws a run so far, given its study, the number of debates that have ended, and the number of all debates."""


class Growing:
    """The page of a run in progress, drawn now and then from what is in the log.

    Args:
        folder: the run's folder.
        study: makes a study of what is in the log; gives None if that is too little for a page.
        draw: writes the page to the folder.
    """

    def __init__(self, folder: Path, study: "Callable[[], Study | None]", draw: Draw) -> None:
        self._folder, self._study = folder, study
        self._draw: Draw | None = draw
        self._said = False
        self._due = time.monotonic() + EVERY

    def look(self, progress: Progress) -> None:
        """Draw the page if it is time; cheap enough to be called for every answer."""
        began = time.monotonic()
        if self._draw is None or began < self._due:
            return
        try:
            study = self._study()
            if study is not None:
                self._draw(study, progress.done, progress.total)
                self._say(f"so far: {(self._folder / REPORT).resolve().as_uri()} (open it now; it grows with the run)")
        except Exception as error:  # the run is worth more than its page
            self._draw = None
            say(f"The page of the run so far could not be written; the run goes on. {type(error).__name__}: {error}")
        now = time.monotonic()
        self._due = now + max(EVERY, _SHARE * (now - began))

    def _say(self, where: str) -> None:
        if not self._said:
            self._said = True
            say(where)
