"""What a manifest says of the software that made something."""

import subprocess
from collections.abc import Iterable
from importlib import metadata

from hustings import __version__


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Hustings and of those packages that are installed."""
    found = {"hustings": __version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of the working folder, if it is a checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
