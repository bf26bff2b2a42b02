"""Metrics of a run on disk: `metrics.jsonl` and TensorBoard's event files. Terminal output is in `progress`.

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
from typing import Any, NoReturn

from experiments.data.stored_json import Checked, Fields, decoded, parse_json, read_bytes, whole
from experiments.storage.workdir import write_text_atomically
from transformer.errors import UserError
from transformer.schema import Check

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
NO_METRICS = ("step", "split", "seconds")

LINE = Fields(
    {"step": whole(0, 2**53), "split": str, "seconds": float},
    others=(float, None, Checked(str, Check(NOT_FINITE.__contains__, "nan, inf or -inf"))),
)
"""Shape of a line."""

REPAIR = "Repair or delete the line, or choose another --workdir."


class Metrics:
    """The metrics of a working directory. Close it, or the last events may be lost.

    Args:
        workdir: the directory; metrics.jsonl is in it, the event files in its `tensorboard`.
        tensorboard: whether to write event files too.
    """

    def __init__(self, workdir: str | os.PathLike, tensorboard: bool) -> None:
        self.path = Path(workdir) / "metrics.jsonl"
        self.events = Path(workdir) / "tensorboard"
        self.tensorboard = tensorboard
        self._writer: Any = None
        self._continue(read(workdir))

    def _continue(self, lines: list[dict[str, Any]]) -> None:
        """Count seconds from those of the last line; a clock that is set has no part in it."""
        before = lines[-1]["seconds"] if lines else 0.0
        self._started, self._started_at = time.monotonic() - before, time.time() - before

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Append a line, and one scalar `NAME/SPLIT` for each metric to the event files.

        Raises:
            OSError: it could not be written; the error names the path.
        """
        seconds = round(time.monotonic() - self._started, 3)
        line = {"step": step, "split": split, **{name: to_json(value) for name, value in values.items()}}
        text = json.dumps({**line, "seconds": seconds}, allow_nan=False) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(text)
            self._add_events({**line, **values, "seconds": seconds})
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Write buffered events to disk; lines are written at once."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Flush, and close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cut_back(self, step: int) -> int:
        """Remove the lines after `step`, and an unfinished last line; write the event files anew.

        Returns:
            The number of lines removed.
        """
        self.close()
        if not self.path.exists():
            return 0
        old = read_bytes(self.path, do=REPAIR)
        kept = [line for line in _lines(self.path, old) if line["step"] <= step]
        new_text = "".join(json.dumps(line) + "\n" for line in kept)
        if new_text.encode() != old:
            write_text_atomically(self.path, new_text)
        self._continue(kept)
        self._rebuild_events(kept)
        return len(old.splitlines()) - len(kept)

    def _rebuild_events(self, lines: list[dict[str, Any]]) -> None:
        """Delete the event files and write them again from the lines, if there were some or `tensorboard` is set."""
        old = list(self.events.glob("events.out.tfevents.*"))
        for path in old:
            path.unlink()
        if self.tensorboard or old:
            for line in lines:
                self._add_events(_from_json(line), anyway=True)
            self.flush()
        if not self.tensorboard:
            self.close()

    def _add_events(self, line: Mapping[str, Any], anyway: bool = False) -> None:
        if not self.tensorboard and not anyway:
            return
        # Where PyTorch is installed this imports it, which takes longer than all else that a run imports.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        if self._writer is None:
            self.events.mkdir(exist_ok=True)
            # SummaryWriter writes in a thread of its own, which ends at the first error; the run would then wait for
            # it for ever. The writer beneath it raises here.
            self._writer = EventsWriter(str(self.events / "events"), f".{os.getpid()}")
        for name, value in line.items():
            if name not in NO_METRICS:
                scalar = summary.scalar(f"{name}/{line['split']}", value)
                moment = self._started_at + line["seconds"]
                self._writer.write_event(Event(wall_time=moment, step=line["step"], summary=scalar))

    def _fail(self, error: OSError) -> NoReturn:
        raise OSError(error.errno, f"metrics could not be written: {error.strerror}", str(self.path)) from error


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
