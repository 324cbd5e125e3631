"""What a manifest records about the software that made something."""

import os
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from hustings import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Hustings and of those packages that are installed."""
    found = {"hustings": __version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of Hustings' own checkout; None if it is installed as a wheel, even inside another checkout."""
    package = Path(__file__).resolve().parent
    root = package.parents[1]
    if not (root / ".git").exists() or package != root / "src" / "hustings":
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5, env=elsewhere)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
