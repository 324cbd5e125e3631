"""Names for artifacts and seeds for requests, both from sha256 of canonical JSON.

It does not know which settings change the output: settings.py marks the others as `knob`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity(value: Any) -> str:
    """The first 12 hexadecimal digits of the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]


SEAL = "sha256"
"""Key under which a manifest holds the sha256 of all else that it says."""


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the sha256 of its canonical JSON."""
    plain = {key: value for key, value in manifest.items() if key != SEAL}
    return {**plain, SEAL: hashlib.sha256(canonical(plain).encode()).hexdigest()}


def seed_of(*parts: str | int) -> int:
    """A seed in 0 … 2³²−1 from the parts, equal for equal parts (Source: design.md, rule 6)."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
