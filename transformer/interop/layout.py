"""Our arrays as their tensors, and back: names, the order of axes, the layers one by one.

A matrix is inputs x outputs here, each of one or several axes, and outputs x inputs in torch's Linear; every block's
arrays have a leading L here, and each layer has a tensor there. Which axes an array has is in the table of axes, so a
family names its tensors and no shapes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from transformer.interop.family import LEAVES, Family, Tensor
from transformer.nn.parameter_axes import Axes


class Place(NamedTuple):
    """The place of one of our arrays in a checkpoint.

    Attributes:
        path: our name, with dots.
        shape: of our array, with its leading L.
        axes: of our array.
        tensor: how it stands there; its name has `*` for the layer of a stacked array.
    """

    path: str
    shape: tuple[int, ...]
    axes: Axes
    tensor: Tensor

    @property
    def own(self) -> tuple[int, ...]:
        """The shape without the leading L."""
        return self.shape[1:] if self.axes.stacked else self.shape

    @property
    def layers(self) -> Iterator[tuple[int, str]]:
        """The layers that have a tensor, and its name; one of layer 0 where the array is not stacked."""
        if not self.axes.stacked:
            yield 0, self.tensor.name
            return
        for layer in range(self.tensor.first_layer, self.shape[0]):
            yield layer, self.tensor.name.replace("*", str(layer))

    @property
    def theirs(self) -> tuple[int, ...]:
        """The shape of each of its tensors."""
        flat = self._flat
        if self.axes.kind == "matrix":
            inputs, outputs = flat
            full = outputs * self.tensor.part[1]
            flat = (inputs, full) if self.tensor.as_ours else (full, inputs)
        elif self.axes.kind == "vector":
            flat = flat if len(flat) > 1 else (flat[0] * self.tensor.part[1],)
            flat = flat[::-1]
        return (1,) * self.tensor.leading + flat

    @property
    def _flat(self) -> tuple[int, ...]:
        """Our shape as that of a matrix, of a table, or of a vector; a table of buckets has two axes."""
        if self.axes.kind == "matrix":
            inputs = len(self.axes.inputs)
            return math.prod(self.own[:inputs]), math.prod(self.own[inputs:])
        if self.axes.kind == "vector" and "M" not in self.axes.outputs:
            return (math.prod(self.own),)
        return self.own

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Return a layer's array from its tensor; a view where that is possible."""
        array, (index, count) = tensor.reshape(self.theirs[self.tensor.leading :]), self.tensor.part
        if self.axes.kind == "matrix":
            array = array if self.tensor.as_ours else array.T
            array = array[:, array.shape[1] // count * index : array.shape[1] // count * (index + 1)]
        elif self.axes.kind == "vector" and array.ndim == 1:
            array = array[array.shape[0] // count * index : array.shape[0] // count * (index + 1)]
        elif self.axes.kind == "vector":
            array = array.T
        return array.reshape(self.own)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Return the tensor, or the part of one, of a layer's array."""
        flat = array.reshape(self._flat)
        if self.axes.kind == "matrix":
            flat = flat if self.tensor.as_ours else flat.T
        elif self.axes.kind == "vector":
            flat = flat.T
        return flat.reshape((1,) * self.tensor.leading + flat.shape)

    @property
    def joined_along(self) -> int:
        """Axis along which parts of one tensor stand side by side."""
        return 1 if self.axes.kind == "matrix" and self.tensor.as_ours else 0


def places(
    family: Family, shapes: Mapping[str, tuple[tuple[int, ...], Axes]], settings: Mapping[str, Any]
) -> tuple[list[Place], list[str]]:
    """Return the places of arrays in a family's checkpoints, and the arrays for which it has no name.

    Args:
        shapes: our name -> shape and axes.
        settings: dotted settings of the model.
    """
    names = family.names(settings) if callable(family.names) else family.names
    found, nameless = [], []
    for path, (shape, axes) in shapes.items():
        tensor = _tensor(path, names)
        if tensor is None:
            nameless.append(path)
        else:
            found.append(Place(path, shape, axes, tensor))
    return found, nameless


def _tensor(path: str, names: Mapping[str, str | Tensor]) -> Tensor | None:
    """Return how an array stands in a checkpoint; None where the family has no name for it."""
    if path in names:
        own = names[path]
        return own if isinstance(own, Tensor) else Tensor(own)
    owner, _, leaf = path.rpartition(".")
    if owner not in names or leaf not in LEAVES:
        return None
    given = names[owner]
    given = given if isinstance(given, Tensor) else Tensor(given)
    return dataclasses.replace(given, name=f"{given.name}.{LEAVES[leaf]}")


Start = Callable[[str], np.ndarray]
"""Our name -> the array that stands where a checkpoint has none, with its leading L."""


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of float32 whose memory JAX takes on a CPU as it is, without a copy: it begins at 64 bytes.

    >>> aligned((3, 5)).shape
    (3, 5)
    """
    size = 4 * math.prod(shape)
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(np.float32).reshape(shape)


def read_array(place: Place, read: Callable[[str], np.ndarray], start: Start) -> np.ndarray:
    """Read one of our arrays, float32.

    Args:
        read: name of a tensor -> the tensor.
        start: values of layers that have no tensor.
    """
    array = aligned(place.shape)
    if not place.axes.stacked:
        array[...] = place.to_ours(read(place.tensor.name))
        return array
    if place.tensor.first_layer:
        array[: place.tensor.first_layer] = start(place.path)[: place.tensor.first_layer]
    for layer, name in place.layers:
        array[layer] = place.to_ours(read(name))
    return array


def tensors_of(found: list[Place], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint by name, of our arrays by name."""
    parts: dict[str, dict[int, np.ndarray]] = {}
    axis: dict[str, int] = {}
    for place in found:
        array = arrays[place.path]
        for layer, name in place.layers:
            one = array[layer] if place.axes.stacked else array
            parts.setdefault(name, {})[place.tensor.part[0]] = place.to_theirs(one)
            axis[name] = place.joined_along
    return {
        name: own[0] if len(own) == 1 else np.concatenate([own[i] for i in sorted(own)], axis=axis[name])
        for name, own in parts.items()
    }
