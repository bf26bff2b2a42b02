"""Metrics of a run on disk: `metrics.jsonl`; trackers get them too. Terminal output is in `progress`.

A line of metrics.jsonl is one JSON object: `step`, `split`, the metrics by name, and `seconds`, the running time so
far, earlier starts included. JSON has no NaN and no infinity: they are the texts "nan", "inf" and "-inf", which
`float` reads.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data.stored_json import Checked, Fields, decoded, parse_json, read_bytes, whole
from experiments.storage.event_files import NO_METRICS as NO_METRICS
from experiments.storage.run_facts import RunFacts
from experiments.storage.trackers import FAILED, FINISHED, Trackers
from experiments.storage.workdir import write_text_atomically
from transformer.errors import UserError
from transformer.schema import Check

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

LINE = Fields(
    {"step": whole(0, 2**53), "split": str, "seconds": float},
    others=(float, None, Checked(str, Check(NOT_FINITE.__contains__, "nan, inf or -inf"))),
)
"""Shape of a line."""

REPAIR = "Repair or delete the line, or choose another --workdir."


class Metrics:
    """The metrics of a working directory. Close it, or a tracker may lose the last ones.

    Args:
        workdir: the directory; metrics.jsonl is in it.
        trackers: further programs that get them; None: none.
    """

    def __init__(self, workdir: str | os.PathLike, trackers: Trackers | None = None) -> None:
        self.path = Path(workdir) / "metrics.jsonl"
        self.trackers = Trackers((), RunFacts(Path(workdir), {})) if trackers is None else trackers
        self.status = FINISHED
        """The end of this session, as trackers have it."""
        self._continue(read(workdir))

    def _continue(self, lines: list[dict[str, Any]]) -> None:
        """Count seconds from those of the last line; a clock that is set has no part in it."""
        before = lines[-1]["seconds"] if lines else 0.0
        self._started, self._started_at = time.monotonic() - before, time.time() - before

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Append a line, and hand it to the trackers.

        Raises:
            OSError: it could not be written; the error names the path.
        """
        seconds = round(time.monotonic() - self._started, 3)
        line = {"step": step, "split": split, **{name: to_json(value) for name, value in values.items()}}
        text = json.dumps({**line, "seconds": seconds}, allow_nan=False) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            where = str(self.path)
            raise OSError(error.errno, f"metrics could not be written: {error.strerror}", where) from error
        self.trackers.log({**line, **values}, self._started_at + seconds)

    def flush(self) -> None:
        """Let trackers write what they have buffered; lines are written at once."""
        self.trackers.flush()

    def close(self) -> None:
        """End the session with the trackers."""
        self.trackers.close(self.status)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.status = self.status if kind is None else FAILED
        self.close()

    def cut_back(self, step: int) -> int:
        """Remove the lines after `step`, and an unfinished last line; write the event files anew.

        Returns:
            The number of lines removed.
        """
        if not self.path.exists():
            return 0
        old = read_bytes(self.path, do=REPAIR)
        kept = [line for line in _lines(self.path, old) if line["step"] <= step]
        new_text = "".join(json.dumps(line) + "\n" for line in kept)
        if new_text.encode() != old:
            write_text_atomically(self.path, new_text)
        self._continue(kept)
        self.trackers.rewrite([(_from_json(line), self._started_at + line["seconds"]) for line in kept])
        return len(old.splitlines()) - len(kept)


class UnwrittenMetrics(Metrics):
    """Metrics of a process whose run another one writes: nothing is written."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Do nothing."""

    def cut_back(self, step: int) -> int:
        """Do nothing; return 0."""
        return 0


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl, non-finite values as floats, without an unfinished last line.

    Raises:
        UserError: another line is no line of metrics.
    """
    path = Path(workdir) / "metrics.jsonl"
    if not path.exists():
        return []
    return [_from_json(line) for line in _lines(path, read_bytes(path, do=REPAIR))]


def _lines(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Parse the lines of the file, without an unfinished last line."""
    found, lines = [], data.splitlines()
    for number, line in enumerate(lines, 1):
        name = f"{path}, line {number}"
        try:
            found.append(parse_json(decoded(line, name, do=REPAIR), name, LINE, do=REPAIR))
        except UserError:
            if number == len(lines):
                break
            raise
    return found


def to_json(value: Any) -> Any:
    """Convert to what JSON can hold: a number that is not finite becomes text, also within a dict."""
    if isinstance(value, dict):
        return {name: to_json(part) for name, part in value.items()}
    if value is None or isinstance(value, int | str | list):
        return value
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def _from_json(line: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the texts of non-finite numbers in a line back to floats."""
    return {
        name: NOT_FINITE.get(value, value) if isinstance(value, str) and name != "split" else value
        for name, value in line.items()
    }
