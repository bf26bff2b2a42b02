"""Comparison of two saved runs, bit for bit: the first difference, if any.

Compared are the seed and the step (of which all randomness is a function), the next batches (the position in the
data), every array of the checkpoint, the rest of its record, and metrics.jsonl without its wall times. A lane of runs
that are trained together is an index of the arrays' first axis.
"""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.storage import checkpoint_format, metrics
from experiments.storage.checkpoint_format import DamagedError
from transformer.errors import problem

WALL_TIME = "seconds"
"""The only value of a line of metrics that is no function of the config."""


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """State and records of a run at a step.

    Attributes:
        name: its name in a difference, such as "at once".
        seed: of the config.
        step: updates done.
        lines: of metrics.jsonl, oldest first, `seconds` included.
        arrays: of the checkpoint, by name: step, parameters, optimizer state, averages.
        record: the rest of the checkpoint: metrics since the last line, early stopping, scores.
        next_batches: fingerprint of the batches that would come next, "" where none was computed.
    """

    name: str
    seed: int
    step: int
    lines: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]
    record: Mapping[str, Any]
    next_batches: str = ""

    def contents(self) -> list[dict[str, str]]:
        """List the parts that are compared and their sizes, a row each: "compared", "how much"."""
        sizes: dict[str, list[int]] = collections.defaultdict(list)
        for name, array in self.arrays.items():
            sizes[name.partition(".")[0]].append(array.nbytes)
        rows = {
            part: f"{len(parts)} array{'s' * (len(parts) > 1)}, {sum(parts):,} bytes"
            for part, parts in sizes.items()
            if part != "step"
        }
        rows["metrics.jsonl"] = f"{len(self.lines)} lines, but for their {WALL_TIME}"
        rows["random state"] = f"seed {self.seed}, step {self.step}"
        rows["position in the data"] = f"next batches {self.next_batches[:12] or 'not taken'}"
        rows["record"] = ", ".join(self.record)
        return [{"compared": name, "how much": size} for name, size in rows.items()]


def read_saved(workdir: Path, step: int, name: str, next_batches: str = "") -> SavedRun:
    """Read the run in a working directory at its checkpoint of `step`.

    Raises:
        UserError: no such checkpoint, or one that cannot be read.
    """
    path = workdir / "checkpoints" / str(step)
    try:
        record, arrays = checkpoint_format.read_record(path), checkpoint_format.read_arrays(path)
        seed = record["extra"].pop("config")["seed"]
    except (DamagedError, KeyError, TypeError) as error:
        raise problem(f"the checkpoint {path} cannot be read", got=f"{error}") from error
    rest = {**record["extra"], "scores": record["metrics"]}
    return SavedRun(name, seed, step, metrics.read(workdir), arrays, rest, next_batches)


def first_difference(one: SavedRun, other: SavedRun) -> str | None:
    """Describe the first difference of two runs in one line; None: they are the same.

    In the order of a run: the seed, the lines of metrics, the step, the next batches, the arrays in
    the order of their state, the record.
    """
    return next(_differences(one, other), None)


def _differences(one: SavedRun, other: SavedRun) -> Iterator[str]:
    def values(what: str, a: Any, b: Any) -> str:
        return f"{what}: {one.name} {_text(a)}, {other.name} {_text(b)}"

    if one.seed != other.seed:
        yield values("seed", one.seed, other.seed)
    for number, (a, b) in enumerate(zip(one.lines, other.lines, strict=False), start=1):
        for key in dict.fromkeys(("step", "split", *a, *b)):
            if key != WALL_TIME and _text(a.get(key)) != _text(b.get(key)):
                where = f"metrics.jsonl, line {number} (step {a['step']}, {a['split']}), {key}"
                yield values(where, a.get(key), b.get(key))
    if len(one.lines) != len(other.lines):
        longer = max(one, other, key=lambda run: len(run.lines))
        line = longer.lines[min(len(one.lines), len(other.lines))]
        where = f"metrics.jsonl, lines (the first that only one has: step {line['step']}, {line['split']})"
        yield values(where, len(one.lines), len(other.lines))
    if one.step != other.step:
        yield values("step", one.step, other.step)
    if one.next_batches != other.next_batches:
        yield values("the next batches, by their fingerprint", one.next_batches, other.next_batches)
    for name in dict.fromkeys((*one.arrays, *other.arrays)):
        a, b = one.arrays.get(name), other.arrays.get(name)
        if _shape(a) != _shape(b):
            yield values(f"array {name}", _shape(a), _shape(b))
        elif a.tobytes() != b.tobytes():
            yield f"array {name}: {_distance(a, b)}"
    for name in dict.fromkeys((*one.record, *other.record)):
        if _text(one.record.get(name)) != _text(other.record.get(name)):
            yield values(f"{name} of the checkpoint's record", one.record.get(name), other.record.get(name))


def _text(value: Any) -> str:
    """Convert a value to JSON, whose floats are the shortest texts that read back: equal texts are equal bits."""
    return json.dumps(value, sort_keys=True)


def _shape(array: np.ndarray | None) -> str:
    return "absent" if array is None else f"{array.shape} {array.dtype}"


def _distance(a: np.ndarray, b: np.ndarray) -> str:
    """Describe how many elements differ, by how much at most, and the index of the first."""
    differ = (_bytes(a) != _bytes(b)).any(axis=1)
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and is shown so
        distance = np.abs(a.astype(np.float64).ravel()[differ] - b.astype(np.float64).ravel()[differ])
    first = [int(i) for i in np.unravel_index(int(differ.argmax()), a.shape)]
    where = f", the first at {first}" if first else ""
    return f"{int(differ.sum()):,} of {a.size:,} elements differ, by at most {distance.max():.3g}{where}"


def _bytes(array: np.ndarray) -> np.ndarray:
    """View an array as the bytes of its elements: elements x bytes."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.size, array.itemsize)
