"""Reads the `.wandb` files that W&B leaves when it is offline."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def parsed(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    raw = path.read_bytes()
    assert raw[:4] == b":W&B"
    at, whole = 7, b""
    while at < len(raw):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", raw[at : at + 7])
        if at + 7 + size > len(raw):
            return
        whole += raw[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def records_of(path: Path) -> list[Any]:
    """All records of a finished run: W&B's own process goes on writing for a moment after ours is done."""
    for _ in range(200):
        found = list(parsed(path))
        if any(it.HasField("exit") for it in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path}: the run was never finished")


def items(update: Any) -> dict[str, Any]:
    """Keys and values of a config, a history row or a summary."""
    return {"/".join(it.nested_key) or it.key: json.loads(it.value_json) for it in update}
