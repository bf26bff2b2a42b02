"""The store of a study's trained lanes: one line of JSON each, in NAME.jsonl beside the record.

A line is written as soon as a lane is trained, in one append, so a study that is stopped goes on where it was; lines
are never changed. A line that was cut by a crash is left out, and its lane is trained again. The lines of `criteria`
hold what a claim had fixed when its first lane was trained.

    {"lane": key, "arm": ..., "updates": 400, "rate": 0.003, "seed": 0, "choice": {metric: score}, "curve": {...},
     "test": {metric: [[sum of each batch], [count]]}, "extra": {...}, "seconds": ..., "commit": ..., "when": ...}
    {"criterion": number of the claim, "fixed": {...}, "when": ...}
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.storage.metrics import NOT_FINITE, to_json

Line = Mapping[str, Any]

READINGS = ("choice", "curve", "train", "test", "extra")
"""Keys of a lane under which numbers may be not finite."""


class Store:
    """The lanes and criteria of one study's file."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one."""
        self.path = path
        self.lanes: dict[str, Line] = {}
        self.criteria: dict[int, Line] = {}
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                self._keep(json.loads(text))
            except json.JSONDecodeError:
                continue

    def add(self, line: Line) -> None:
        """Append a line, and keep it."""
        text = json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A crash may have cut the last line: a new one must not be joined to it.
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else "\n" + text
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
        self._keep(json.loads(text))

    def _keep(self, line: Line) -> None:
        """Keep the first line of each lane and of each criterion."""
        if "lane" in line:
            readings = {name: decoded(line[name]) for name in READINGS if name in line}
            self.lanes.setdefault(line["lane"], {**line, **readings})
        elif "criterion" in line:
            self.criteria.setdefault(line["criterion"], line)


def plain(value: Any) -> Any:
    """Convert a value for JSON: arrays to lists, floats to six digits, those that are not finite to texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence) or (hasattr(value, "ndim") and value.ndim):
        return [plain(part) for part in (value if isinstance(value, Sequence) else np.asarray(value))]
    value = value.item() if hasattr(value, "item") else value
    return to_json(float(f"{value:.6g}")) if isinstance(value, float) else value


def decoded(value: Any) -> Any:
    """Convert the texts of numbers that are not finite back, in lists and mappings too."""
    if isinstance(value, Mapping):
        return {key: decoded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [decoded(part) for part in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value
