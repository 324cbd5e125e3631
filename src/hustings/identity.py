"""Names for artifacts and seeds for requests, both from the sha256 of canonical JSON.

It does not know which settings affect the output; `settings` marks the others as `knob`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity(value: Any) -> str:
    """The first 12 hexadecimal digits of the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]


SEAL = "sha256"
"""Key in a manifest for the sha256 of everything else in it."""


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the sha256 of its canonical JSON added."""
    plain = {key: value for key, value in manifest.items() if key != SEAL}
    return {**plain, SEAL: hashlib.sha256(canonical(plain).encode()).hexdigest()}


def seed_of(*parts: str | int) -> int:
    """A seed in 0 … 2³²−1 from the parts; equal parts give equal seeds (Source: design.md, rule 6)."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
