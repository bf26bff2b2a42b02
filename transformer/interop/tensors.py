"""The tensors of a checkpoint in safetensors, one file or several with an index. Nothing is unpickled.

A file is opened for each tensor that is read, so that no more of it stays in memory than that tensor.
"""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from transformer.errors import problem, shorten

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "tf_model.h5", "flax_model.msgpack")
"""Patterns of files that hold weights in formats which are not read."""


class Stored(NamedTuple):
    """A tensor of a file: the file, and the shape that it has there."""

    file: Path
    shape: tuple[int, ...]


class Tensors:
    """The tensors of a directory by name; nothing is read before it is asked for.

    Attributes:
        stored: name -> file and shape.

    Raises:
        UserError: no safetensors, a damaged file or index, or an index that leaves the directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stored: dict[str, Stored] = {}
        named = _index(directory)
        for file, names in named.items():
            found = _shapes(file)
            missing = [] if names is None else sorted(set(names) - set(found))
            if missing:
                what = f"{file.name} lacks tensors that {INDEX} names"
                raise problem(what, got=shorten(", ".join(missing)), do="Download the file again.")
            self.stored |= {name: Stored(file, shape) for name, shape in found.items()}

    def read(self, name: str) -> np.ndarray:
        """Read a tensor as float32."""
        stored = self.stored[name]
        try:
            with safe_open(stored.file, framework="numpy") as file:
                array = np.asarray(file.get_tensor(name))
        except (SafetensorError, OSError, TypeError, AttributeError) as error:
            raise problem(f"{stored.file.name}: tensor {name} cannot be read", got=str(error)) from error
        if array.dtype.kind in "iub" or array.dtype.itemsize < 2:
            what = f"{stored.file.name}: tensor {name} is not of floats, as those of quantized weights are not"
            raise problem(what, got=array.dtype, expected="float32, float16, bfloat16 or float64")
        return array if array.dtype == np.float32 else array.astype(np.float32)

    def equal(self, name: str, other: str) -> bool:
        """Return whether two tensors are equal; False where one is missing."""
        if other not in self.stored or self.stored[name].shape != self.stored[other].shape:
            return False
        return np.array_equal(self.read(name), self.read(other))


def _index(directory: Path) -> Mapping[Path, list[str] | None]:
    """Return the files of a checkpoint, each with the names that an index has for it."""
    if (directory / INDEX).is_file():
        weights = read_json(directory / INDEX).get("weight_map")
        if not isinstance(weights, dict) or not all(isinstance(file, str) for file in weights.values()):
            raise problem(f"{INDEX} has no weight_map", got=shorten(repr(weights)), expected="name of a tensor -> file")
        found: dict[Path, list[str]] = {}
        for name, file in weights.items():
            path = directory / file
            if Path(file).name != file:
                expected = "a file of the directory itself"
                raise problem(f"{INDEX} names a file outside of its directory", got=file, expected=expected)
            if not path.is_file():
                raise problem(f"{INDEX} names a file that does not exist", got=file, do="Download it again.")
            found.setdefault(path, []).append(name)
        return found
    if (directory / ONE_FILE).is_file():
        return {directory / ONE_FILE: None}
    pickled = sorted(path.name for pattern in PICKLED for path in directory.glob(pattern))
    if pickled:
        raise problem(
            f"{directory} has no weights in safetensors",
            got=", ".join(pickled),
            expected=f"{ONE_FILE}, or {INDEX} and its files",
            do="Files that are pickled can run code, so they are not read. Convert them once where you trust them, with"
            " PyTorch: AutoModel.from_pretrained(DIRECTORY).save_pretrained(NEW_DIRECTORY) of transformers.",
        )
    others = shorten(", ".join(sorted(path.name for path in directory.iterdir())))
    raise problem(f"{directory} has no weights", got=others or "an empty folder", expected=f"{ONE_FILE}, or {INDEX}")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's tensors. Raises a UserError for one that is damaged."""
    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        got = f"{file.stat().st_size:,} bytes: {error}"
        raise problem(f"{file.name} is no safetensors file, or not all of it is there", got=got) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: no such file, or something else in it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise problem(f"{path} cannot be read", got=str(error)) from error
    except ValueError as error:
        raise problem(f"{path} is not JSON", got=str(error), do="Download it again.") from error
    if not isinstance(found, dict):
        raise problem(f"{path} is no object", got=shorten(repr(found)), expected='{"name": value, ...}')
    return found


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors as one safetensors file, in the form that `transformers` reads."""
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path, metadata={"format": "pt"})


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """Return the names that one of the patterns fits.

    >>> matching(["h.0.attn.bias", "h.0.ln_1.bias"], ["*.attn.bias"])
    ['h.0.attn.bias']
    """
    patterns = tuple(patterns)
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
