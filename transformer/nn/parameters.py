"""The table of initial values, and the one place that makes parameters, by it and by their axes.

Initial values follow from the kind: matrices are normal with variance 1 / fan-in, tables with variance 1 / D, and
vectors are zero; STARTS has the others. `declare` alone makes a parameter in a module, and `initial_values` alone draws
those of a model.
"""

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer import tables
from transformer.errors import problem
from transformer.nn.initializers import Constant, Initializer, Normal, Orthogonal, Own
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import ARCHITECTURES, FEED_FORWARDS, brought_by
from transformer.nn.parameter_axes import AXES, Axes, match, parse_axes, shape_of, sizes
from transformer.nn.positions import POSITIONS
from transformer.nn.recurrent.cells import CELLS
from transformer.nn.settings import ModelSettings
from transformer.ops.norms import NORMS, Norm
from transformer.ops.scores import find

T = TypeVar("T")

Tree = dict[str, Any]
"""Nested dict with a leaf for each parameter."""

Path = tuple[jax.tree_util.DictKey, ...]
"""Path of a leaf in a nested dict."""

Brought = Mapping[str, tables.Parameter]
"""The parameters that a row of a table brings along, by name."""


def brought(owner: str, config: ModelSettings) -> Brought:
    """Return the parameters that the rows of a config bring along for an owner; {} for an owner without any."""
    tables_of_modules = (MIXERS, "mixer"), (FEED_FORWARDS, "feed_forward"), (ARCHITECTURES, "architecture")
    modules = [table.of(config, name) for table, name in tables_of_modules]
    return {**_brought_to_a_sublayer(owner, config), **brought_by(modules, owner)}


def _brought_to_a_sublayer(owner: str, config: ModelSettings) -> Brought:
    if owner == "score":
        return find(config.score).parameters
    if owner.endswith("norm"):
        return norm_parameters(owner, norm_of(owner, config))
    position = POSITIONS.of(config, "position")
    return position.parameters if owner == position.owner else {}


def norm_of(owner: str, config: ModelSettings) -> Norm:
    """Return the row of NORMS that normalises for an owner."""
    if owner == "head_norm":
        return NORMS["rms"]
    if owner in ("query_norm", "key_norm"):
        return NORMS.of(config.attention, "query_key_norm")
    return NORMS.of(config, "norm")


def norm_parameters(owner: str, row: Norm) -> Brought:
    """Return the parameters of a row of NORMS, each as wide as what its owner normalises."""
    found = {name: (match(AXES, owner, name), start) for name, start in row.parameters.items()}
    return {name: tables.Parameter(axes, start) for name, (axes, start) in found.items() if axes is not None}


def find_axes(owner: str, name: str, rows: Brought | None = None) -> Axes:
    """Find the axes of `owner.name`; `rows` are the parameters that a row of a table brings along."""
    text = rows[name].axes if rows and name in rows else match(AXES, owner, name)
    if text is None:
        full = f"{owner}.{name}"
        do = f'Add one; or give the row of a table that brings it along parameters={{"{full}": Parameter("D -> F")}}.'
        raise problem(f"parameter {full} has no row in transformer.nn.parameter_axes.AXES", do=do)
    return parse_axes(text)


def parameter_axes(params: Tree, config: ModelSettings | None = None) -> Tree:
    """Return a tree like `params`, arrays or their shapes, with each one's Axes; without a config, of no row's own."""

    def one(path: Path, leaf: Array | jax.ShapeDtypeStruct) -> Axes:
        *_, owner, name = names = _names(path)
        rows = None if config is None else brought(owner, config)
        return dataclasses.replace(find_axes(owner, name, rows), stacked=_stacked(names))

    return jax.tree_util.tree_map_with_path(one, params)


def _names(path: Path) -> list[str]:
    return [entry.key for entry in path]


def _stacked(names: list[str]) -> bool:
    return "blocks" in names


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a model: its axes, their sizes and its initial values; without the leading L of stacked layers."""

    axes: Axes
    shape: tuple[int, ...]
    start: Initializer


def parameter(
    owner: str, name: str, config: ModelSettings, shape: tuple[int, ...] | None = None, rows: Brought | None = None
) -> Parameter:
    """Find the parameter `owner.name` of a model.

    Args:
        shape: None: by the config's sizes.
        rows: the parameters that a row of a table brings along for this owner; None: by the config.
    """
    rows = brought(owner, config) if rows is None else rows
    axes = find_axes(owner, name, rows)
    shape = shape_of(axes, sizes(config), f"{owner}.{name}") if shape is None else shape
    given = rows[name].start if name in rows else None
    if callable(given):
        return Parameter(axes, shape, Own(given))
    if given is not None:
        return Parameter(axes, shape, Constant((float(given),)))
    start = match(STARTS, owner, name) or KINDS[axes.kind]
    return Parameter(axes, shape, start(axes, shape, config))


Start = Callable[[Axes, tuple[int, ...], ModelSettings], Initializer]
"""(axes, shape, config) -> initial values."""


def _fan_in(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    """LeCun et al. 1998: outputs have the variance of inputs."""
    return Normal(math.prod(shape[: len(axes.inputs)]) ** -0.5)


def _rows(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    return Normal(shape[-1] ** -0.5)


def _zero(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    return Constant((0.0,))


def _one(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    return Constant((1.0,))


def _small(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    """Ye et al. 2024; at zero, neither vector of a product would have a gradient."""
    return Normal(0.1)


def _gates(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    return Constant(tuple(CELLS[config.recurrent.cell].gates.values()))


def _orthogonal(axes: Axes, shape: tuple[int, ...], config: ModelSettings) -> Initializer:
    return Orthogonal()


KINDS: dict[str, Start] = {"matrix": _fan_in, "table": _rows, "vector": _zero}
"""Kind -> the initial values of parameters that have no row in STARTS."""

STARTS: dict[str, Start] = {
    "*.scale": _one,
    "lambda.*": _small,
    "*.recurrent": _orthogonal,
    "*ward.bias": _gates,
    "cell.bias": _gates,
}
"""Owner and parameter -> initial values, where the row that brings a parameter along has none of its own."""


def declare(
    module: nn.Module,
    owner: str,
    name: str,
    config: ModelSettings,
    *,
    layers: int | None = None,
    rows: Brought | None = None,
) -> Array:
    """Make the parameter `owner.name` in a module, with a leading L if `layers` is given; `rows` as for `parameter`.

    The parameter's path must end with owner and name: `initial_values` finds its row by them. Linen's own `module.init`
    draws the same kind of values from Linen's keys.

    Raises:
        UserError: the parameter is given, and has another shape.
    """
    own = parameter(owner, name, config, rows=rows)
    if not module.has_variable("params", name):
        return module.param(name, own.start.draw, own.shape, layers, 1.0)
    # `param` would trace the draw of every parameter again, for its shape alone: a third of the tracing of a model.
    given: Array = nn.unbox(module.get_variable("params", name))
    shape = own.shape if layers is None else (layers, *own.shape)
    if jnp.shape(given) != shape:
        raise problem(f"parameter {owner}.{name} has another shape", got=jnp.shape(given), expected=shape)
    return given


def initial_values(key: Array, shapes: Tree, config: ModelSettings, scale: float | Array = 1.0) -> Tree:
    """Draw a model's parameters, each from its row and from a key of its own: `key` with its path folded in.

    Args:
        shapes: a tree with the paths and shapes of the parameters.
        scale: factor on matrices and tables.
    """

    def one(path: Path, leaf: jax.ShapeDtypeStruct) -> Array:
        *_, owner, name = names = _names(path)
        layers, shape = (leaf.shape[0], leaf.shape[1:]) if _stacked(names) else (None, leaf.shape)
        own = parameter(owner, name, config, shape)
        key_of_path = jax.random.fold_in(key, path_number(names))
        return own.start.draw(key_of_path, own.shape, layers, 1.0 if own.axes.kind == "vector" else scale)

    return jax.tree_util.tree_map_with_path(one, shapes)


def path_number(names: list[str]) -> int:
    """Return the path's number of 32 bits, the same in every process."""
    return zlib.crc32("/".join(names).encode())
