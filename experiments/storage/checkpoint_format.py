"""Contents of one checkpoint: `state`, the arrays, and `extra`, a JSON record.

The record has what the caller adds, the metrics, and the name, shape and type of each array, so that a checkpoint of
another model is refused before its arrays are read. JSON keeps floats exactly (Python writes the shortest text that
reads back to the same bits; NaN and the infinities included). It holds a CRC-32 of each array and of itself, so that a
checkpoint which has lost the checksums of its files is still read as it was written, or not at all.
"""

import contextlib
import errno
import functools
import gc
import inspect
import json
import shutil
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from experiments.data.stored_json import Checked, Fields, misfit
from transformer.errors import UserError, problem
from transformer.schema import Check

P = ParamSpec("P")
T = TypeVar("T")


def _is_array(pair: list) -> bool:
    """Return whether this is the shape of an array and the name of its type."""
    shape, kind = pair if len(pair) == 2 else (None, None)
    return isinstance(kind, str) and isinstance(shape, list) and all(type(axis) is int for axis in shape)


RECORD = Fields(
    {
        "extra": dict,
        "metrics": (Fields({}, others=(float, None)), None),
        "arrays": Fields({}, others=Checked(list, Check(_is_array, "[shape, type]"))),
    },
    {"sums": Fields({}, others=int), "crc": int},
)
"""Shape of the record; those of earlier versions have no CRC-32 of the arrays, or none at all."""


class DamagedError(Exception):
    """Error for a checkpoint whose files cannot be read; the message is one line."""


def damage_found(read: Callable[P, T]) -> Callable[P, T]:
    """Decorate a reader of files: Orbax and TensorStore raise any kind of error on damaged ones, here DamagedError.

    What they leave behind on an error, coroutines that nobody waits for and reads under way, ends here in silence.
    """

    @functools.wraps(read)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        errors: list[Exception] = []
        with _reads_under_way_are_silent():
            try:
                return read(*args, **kwargs)
            except (UserError, DamagedError, MemoryError, jax.errors.JaxRuntimeError):  # no fault of the files
                raise
            except Exception as error:
                errors.append(error)
            line = first_line(errors[0])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                errors.clear()
                gc.collect()
            time.sleep(LATE)
        raise DamagedError(line)

    return wrapper


@contextlib.contextmanager
def _reads_under_way_are_silent() -> Iterator[None]:
    """Keep Python from printing errors of coroutines that have ended, and of threads whose event loop has."""
    hook = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not inspect.iscoroutine(unraisable.object) and str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = quiet
    try:
        yield
    finally:
        sys.unraisablehook = hook


def is_step(name: str) -> bool:
    """Return whether this is the name of a step as a checkpoint has it: digits, without zeros before them."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def first_line(error: Exception) -> str:
    """Shorten an exception to one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


LATE = 0.2
"""Seconds in which the reads under way end, once one of them has found damage."""

OTHER_BYTES = 1 << 20
"""Space for files other than arrays: records, checksums, the metrics of the run."""


def save_arguments(
    state: Any, extra: Mapping[str, Any], metrics: Mapping[str, float] | None
) -> ocp.args.CheckpointArgs:
    """Build the arguments of Orbax's save."""
    sums = {name: _sum(leaf) for name, leaf in _named(state).items() if getattr(leaf, "is_fully_addressable", True)}
    record = {"extra": extra, "metrics": metrics, "arrays": shapes(state), "sums": sums}
    copy = json.loads(json.dumps(record))  # written in the background, when the caller may have changed its own
    copy["crc"] = _crc(copy)
    return ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(copy))


def _crc(record: Mapping[str, Any]) -> int:
    """Compute the CRC-32 of a record as JSON with sorted keys."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def require_space(directory: Path, state: Any) -> None:
    """Raise OSError with the path if a checkpoint would not fit on the disk.

    Checked before anything is written, because Orbax's own threads print the errors of a save. A small file that
    is written first shows limits that the number of free bytes does not, such as a quota.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + OTHER_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        what = f"the checkpoint needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB left"
        raise OSError(errno.ENOSPC, what, str(directory))
    trial = directory / ".trial"
    try:
        trial.write_bytes(bytes(OTHER_BYTES))
    except OSError as error:
        raise OSError(error.errno, f"no checkpoint can be written: {error.strerror}", str(directory)) from error
    finally:
        trial.unlink(missing_ok=True)


@damage_found
def read_record(path: Path) -> dict[str, Any]:
    """Read {"extra", "metrics", "arrays", "sums"} of the checkpoint at `path`; raise DamagedError if it is damaged.

    "sums" has the CRC-32 of each array; checkpoints of earlier versions have none, and {} stands for them.
    """
    record = ocp.JsonCheckpointHandler().restore(epath.Path(path / "extra"), args=ocp.args.JsonRestore())
    why = misfit(record, RECORD)
    if why is None and "crc" in record and record.pop("crc") != _crc(record):
        why = "it has changed since it was saved"
    if why is not None:
        raise DamagedError(f"extra: {why}")
    return {"sums": {}, **record}


@damage_found
def read_state(path: Path, example: Any, sums: Mapping[str, int]) -> Any:
    """Read the arrays of the checkpoint at `path`, placed as `example`.

    Each process reads its own parts and waits for no other, which may have found damage: Orbax's handler has no
    barrier, its checkpointers have one at the end.

    Args:
        sums: those of its record.

    Raises:
        DamagedError: it is damaged.
    """
    with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
        wanted = ocp.args.StandardRestore(jax.tree.map(_target, example))
        state = reader.restore(epath.Path(path / "state"), args=wanted)
    _require_sums(_named(state), sums)
    return state


@damage_found
def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array of the checkpoint at `path` by its name in `shapes`, in the order of the saved tree.

    It needs no example and no device: the arrays stay in the host's memory. Raises DamagedError where the checkpoint is
    damaged.
    """
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(path / "state").item_metadata.tree
        on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        found = _named(reader.restore(path / "state", restore_args=on_host))
    record = read_record(path)
    arrays = {name: np.asarray(found[name]) for name in record["arrays"]}
    _require_sums(arrays, record["sums"])
    return arrays


def shapes(state: Any) -> dict[str, list]:
    """List, for each array, name -> [shape, dtype], in the order of the tree."""
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in _named(state).items()}


def _named(state: Any) -> dict[str, Any]:
    """List the leaves of a tree by their names, in its order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _sum(array: Any) -> int:
    """Compute the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _require_sums(arrays: Mapping[str, Any], sums: Mapping[str, int]) -> None:
    """Raise DamagedError for the first array that has another CRC-32 than its record."""
    for name, expected in sums.items():
        here = getattr(arrays.get(name), "is_fully_addressable", True)  # if not, other processes have parts of it
        if here and (name not in arrays or _sum(arrays[name]) != expected):
            raise DamagedError(f"state: {name} has changed since it was saved")


def refuse_other_shapes(path: Path, saved: Mapping[str, list], wanted: Mapping[str, list]) -> None:
    """Raise a UserError that names the first array in which a checkpoint and the model differ."""
    for name in (*wanted, *saved):
        if saved.get(name) != wanted.get(name):
            raise problem(
                f"the checkpoint {path} is of another model: {name} is {_in_words(saved.get(name))} in the checkpoint,"
                f" {_in_words(wanted.get(name))} in this model",
                do="Use the settings that it was made with (config.json in its --workdir), or another --workdir.",
            )


def _in_words(array: list | None) -> str:
    return "absent" if array is None else f"{tuple(array[0])} {array[1]}"


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    """Describe the array to restore: shape, type and sharding; without a sharding it goes to the first device."""
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
