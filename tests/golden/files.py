"""The golden files' format: many small named arrays in one .npz.

An .npz takes some 300 bytes for each array, more than most of ours hold. So a file has three: `float32` and `int32`,
all arrays end to end, and `index`, JSON, a list of [name, type, shape] in that order.
"""

import json
import math
import pathlib

import numpy as np

Record = dict[str, np.ndarray]

FOLDER = pathlib.Path(__file__).parent


def save(path: pathlib.Path, record: Record) -> None:
    """Writes a record of float32 and int32 arrays."""
    index = [(name, array.dtype.name, array.shape) for name, array in record.items()]
    flat = {
        kind: np.concatenate([np.zeros(0, kind), *(x.ravel() for x in record.values() if x.dtype == kind)])
        for kind in ("float32", "int32")
    }
    np.savez_compressed(path, index=np.array(json.dumps(index)), **flat)


def load(name: str) -> Record:
    """The record of a golden file, by its name without .npz."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        flat, index = {kind: file[kind] for kind in ("float32", "int32")}, json.loads(str(file["index"]))
    record, used = {}, {"float32": 0, "int32": 0}
    for entry, kind, shape in index:
        start, size = used[kind], math.prod(shape)
        record[entry] = flat[kind][start : start + size].reshape(shape)
        used[kind] += size
    return record
