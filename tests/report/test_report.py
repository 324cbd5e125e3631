"""Runs put together: names that tell them apart, and trainings that differ in their seed alone."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hustings import report


def bent(finished: Path, folder: Path, adapter: str | None, by: int) -> Path:
    """The finished run as if it had been played with an adapter that moves every score."""
    shutil.copytree(finished / "run", folder, symlinks=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["settings"]["adapter"] = adapter
    manifest["adapter"] = {"name": adapter, "id": adapter} if adapter else None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    table = pd.read_csv(folder / "attitudes.csv")
    table["score"] += by * (table["repetition"] % 2 + 1) * (table["iteration"] > 0)
    table["adapter"] = adapter or ""
    table.to_csv(folder / "attitudes.csv", index=False)
    (folder / "statistics.csv").unlink()
    return folder


def test_three_trainings_are_compared_as_their_mean_with_their_spread_beside_it(finished: Path, tmp_path: Path) -> None:
    runs = [bent(finished, tmp_path / "base", None, 0)]
    runs += [bent(finished, tmp_path / f"s{seed}", f"republican_nwp_r8_s{seed}", -seed) for seed in (1, 2, 3)]
    table = report.compare(runs, tmp_path / "both")
    ends = table[(table["statistic"] == "end") & (table["role"] == "default")].set_index("run")
    each = [f"republican_nwp_r8_s{seed}" for seed in (1, 2, 3)]
    assert ends.loc[each, "estimate"].tolist() == pytest.approx([-1.5, -3.0, -4.5])
    mean = ends.loc["republican_nwp_r8, 3 trainings"]
    assert mean["estimate"] == pytest.approx(-3.0)
    assert mean["sd_over_trainings"] == pytest.approx(1.5)
    assert "n = 6 pairs of debates" in mean["sentence"]
    assert mean["sentence"].endswith("; over 3 trainings it was -1.5, -3.0, -4.5 points.")
    curve = pd.read_csv(tmp_path / "both" / "figures" / "curves.csv")
    assert {*curve["run"]} == {"base model", "republican_nwp_r8, 3 trainings"}


def test_the_baseline_is_never_averaged_with_what_it_is_compared_to(finished: Path, tmp_path: Path) -> None:
    runs = [bent(finished, tmp_path / f"s{seed}", f"republican_nwp_r8_s{seed}", -seed) for seed in (1, 2)]
    table = report.compare(runs, tmp_path / "both")
    assert {*table["run"]} == {"republican_nwp_r8_s2"}
    assert {*table["baseline"]} == {"republican_nwp_r8_s1"}
