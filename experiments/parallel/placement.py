"""Placement of a run on a mesh of devices: its state, its batches and its named activations.

The compiler puts in what the devices exchange (GSPMD, Xu et al. 2021): the code of models, updates and losses is that
of one device, and so are its numbers but for the order of sums.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.parallel.rules import BATCH, Rule, refuse_idle, spec_of_parameter, spec_of_site
from transformer import Model
from transformer.errors import problem
from transformer.nn.module_rows import structure
from transformer.nn.parameter_axes import Axes
from transformer.nn.positions import POSITIONS


class Placement:
    """Placement of a run: what each device of a mesh has of the state, of a batch and of the named activations.

    Args:
        mesh: its axes are those of `config.AXES`.
        model: the model.
        batch: one that it reads, of any size.
        rules: of the user's own.

    Raises:
        UserError: a rule that fits no axis of a parameter, an axis that no rule covers, a size that does not divide,
            or a recurrent model whose positions are to be divided.
    """

    def __init__(self, mesh: Mesh, model: Model, batch: Mapping[str, Any], rules: Sequence[str] = ()) -> None:
        if mesh.shape["sequence"] > 1 and structure(model.config.architecture).recurrent:
            raise problem(
                "a recurrent model reads its positions one after another",
                got=f"mesh.sequence {mesh.shape['sequence']}, architecture {str(model.config.architecture)!r}",
                expected="mesh.sequence 1",
                do="Use data, fsdp or tensor.",
            )
        self.mesh = mesh
        specs = {name: spec_of_site(name, site.axes) for name, site in model.sites(batch).items()}
        self.sites = {name: _held_to(NamedSharding(mesh, spec)) for name, spec in specs.items() if spec}
        """Functions that hold named activations to the table of rules, as `Model.apply` takes `replace`."""
        sides = [name for name in ("source", "target") if name in batch]
        self._fills = all(f"{side}_lengths" in batch for side in sides) and not batch.keys() - FILLED
        self._limit = model.config.max_length if POSITIONS.of(model.config, "position").is_bounded else None
        self._as_heads = "K" if model.config.num_kv_heads == model.config.num_heads else ""
        self.sizes = dict(mesh.shape)
        self.rules = [Rule(text) for text in rules]
        shapes = model.parameter_shapes
        axes = dict(_leaves(model.parameter_axes(shapes)))
        refuse_idle(self.rules, {_name(path): own.letters for path, own in axes.items()})
        self._params: dict[Any, tuple[tuple[int, ...], PartitionSpec]] = {}
        self._tables: dict[Any, NamedSharding] = {}
        for path, shape in _leaves(shapes):
            spec = spec_of_parameter(_name(path), axes[path].letters, self.rules)
            self._check_parameter(_name(path), axes[path].letters, shape.shape, spec)
            self._params[path] = (shape.shape, spec)
            if axes[path].kind == "table":
                self._tables[path] = NamedSharding(mesh, PartitionSpec(*(None if a == "fsdp" else a for a in spec)))

    def _check_parameter(self, path: str, letters: Sequence[str], shape: Sequence[int], spec: PartitionSpec) -> None:
        for letter, size, axis in zip(letters, shape, spec, strict=True):
            parts = 1 if axis is None else self.sizes[axis]
            if size % parts:
                setting, change = OF_LETTER.get("N" if letter in self._as_heads else letter, (f"axis {letter}", ""))
                change = change.format(_up(size, parts))
                raise problem(
                    f"mesh.{axis} does not divide {setting} (parameter {path})",
                    got=f"{size} in {parts} parts",
                    expected=f"a multiple of {parts}",
                    do=f"Change {f'{setting} {change}' if change else 'it'}, or choose another mesh.",
                )

    def check_batches(self, shapes: Sequence[tuple[int, ...]], accumulation: int = 1, by_tokens: bool = False) -> None:
        """Check that the devices have equal parts of every batch.

        Args:
            shapes: examples and lengths of each shape of batch.
            accumulation: number of parts that a batch is computed in.
            by_tokens: whether the number of examples follows from a number of tokens.

        Raises:
            UserError: a number of examples, or a length, that does not divide.
        """
        parts = self.examples
        divisor = parts * accumulation
        for examples, *lengths in shapes:
            if examples % divisor:
                raise problem(
                    "mesh.data x mesh.fsdp does not divide the examples of a batch",
                    got=f"{examples} examples"
                    + (f" in {accumulation} parts (training.accumulation)" if accumulation > 1 else "")
                    + f" for {parts} devices",
                    expected=f"a multiple of {divisor}",
                    do="Set training.batch_size in place of training.batch_tokens."
                    if by_tokens
                    else f"Set training.batch_size to {_up(examples, divisor)}.",
                )
            for length in lengths:
                self._check_length(length)

    def _check_length(self, length: int) -> None:
        """Check that a length divides, or can be filled up: where lengths mark padding, within the model's limit."""
        parts = self.sizes["sequence"]
        filled = _up(length, parts)
        if filled == length:
            return
        if not self._fills:
            raise problem(
                "mesh.sequence does not divide the positions of a batch",
                got=f"{length} positions in {parts} parts",
                expected=f"a multiple of {parts}",
                do=f"Set task.context to {filled}, or choose another mesh.",
            )
        if self._limit is not None and filled > self._limit:
            raise problem(
                "mesh.sequence needs batches that are longer than the table of positions",
                got=f"{length} positions, filled up to {filled}; model.max_length {self._limit}",
                expected=f"model.max_length {filled} or more",
                do=f"Set model.max_length to {filled}.",
            )

    def shardings(self, shapes: Any) -> Any:
        """Return the sharding of each array of a state, or of the parameters.

        An array of the optimizer is divided as the parameter to which it belongs: its path ends with that of the
        parameter, and its shape is the same. Any other array is whole on every device.
        """

        def of(path: tuple[Any, ...], array: Any) -> NamedSharding:
            for start in range(len(path)):
                shape, spec = self._params.get(path[start:], (None, None))
                if shape == array.shape:
                    return NamedSharding(self.mesh, spec)
            return NamedSharding(self.mesh, PartitionSpec())

        return jax.tree_util.tree_map_with_path(of, shapes)

    def with_shardings(self, shapes: Any) -> Any:
        """Return shapes with the sharding of each, as `Checkpoints.restore` takes them."""
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            shapes,
            self.shardings(shapes),
        )

    def gathered(self, params: Any) -> Any:
        """Gather the parts of the tables that are looked up, along fsdp; other parameters are left to the compiler."""

        def of(path: tuple[Any, ...], x: Any) -> Any:
            return jax.lax.with_sharding_constraint(x, self._tables[path]) if path in self._tables else x

        return jax.tree_util.tree_map_with_path(of, params)

    def in_pieces(self, x: jax.Array, pieces: int) -> jax.Array:
        """Divide the positions that each device has of an array B T ... into pieces: pieces B S T' ..., filled with 0.

        S is the size of the sequence axis, whose devices have a part of every piece.
        """
        examples, parts = x.shape[0], self.sizes["sequence"]
        own = x.reshape(examples, parts, -1, *x.shape[2:])
        missing = _up(own.shape[2], pieces) - own.shape[2]
        own = jnp.pad(own, [(0, 0), (0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)])
        divided = jnp.moveaxis(own.reshape(examples, parts, pieces, -1, *x.shape[2:]), 2, 0)
        return jax.lax.with_sharding_constraint(
            divided, NamedSharding(self.mesh, PartitionSpec(None, BATCH, "sequence"))
        )

    @functools.cached_property
    def share(self) -> tuple[int, int]:
        """The part of the examples of a batch that this process puts on its devices: index, and number of parts."""
        return _share(self.mesh)

    def rows(self, count: int) -> slice:
        """Return which of the examples of a batch this process puts on its devices."""
        part, parts = self.share
        return slice(part * count // parts, (part + 1) * count // parts)

    def put(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Put a batch on the devices: examples along data and fsdp, positions, filled up, along sequence.

        Args:
            batch: the examples of `rows`.
        """
        part, parts = self.share
        return {
            name: _put(self.filled(x), part * len(x), parts * len(x), self.of_batch(x)) for name, x in batch.items()
        }

    def put_whole(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Put a batch that every process has on the devices: examples along data and fsdp, if there are equal parts."""
        divided = NamedSharding(self.mesh, PartitionSpec(BATCH))
        return {n: _put(x, 0, len(x), self.whole if len(x) % self.examples else divided) for n, x in batch.items()}

    @property
    def examples(self) -> int:
        """Number of parts of a batch: its examples are a multiple of it."""
        return self.sizes["data"] * self.sizes["fsdp"]

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what every device has."""
        return NamedSharding(self.mesh, PartitionSpec())

    def shapes(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes, types and shardings of a batch once it is put on the devices."""
        filled = {name: self.filled(x) for name, x in batch.items()}
        return {n: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.of_batch(x)) for n, x in filled.items()}

    def filled(self, x: np.ndarray) -> np.ndarray:
        """Fill up the positions of an array of a batch with 0, to a multiple of the sequence axis."""
        missing = _up(x.shape[1], self.sizes["sequence"]) - x.shape[1] if x.ndim > 1 else 0
        return np.pad(x, [(0, 0), (0, missing)]) if missing else x

    def of_batch(self, x: Any) -> NamedSharding:
        """Return the sharding of an array of a batch, B or B T."""
        return NamedSharding(self.mesh, PartitionSpec(*(BATCH, "sequence")[: x.ndim]))

    def in_words(self) -> str:
        """Return the axes with more than one device, such as "mesh of data 4 x tensor 2"."""
        return "mesh of " + " x ".join(f"{name} {size}" for name, size in self.sizes.items() if size > 1)


def _put(x: np.ndarray, first: int, count: int, sharding: NamedSharding) -> jax.Array:
    """Put on the devices of this process its parts of an array of so many examples; x has those from `first` on."""

    def part(index: tuple[slice, ...]) -> np.ndarray:
        start, stop, _ = index[0].indices(count)
        return x[(slice(start - first, stop - first), *index[1:])]

    return jax.make_array_from_callback((count, *x.shape[1:]), sharding, part)


def _share(mesh: Mesh) -> tuple[int, int]:
    """Return the part of a batch that the devices of this process have: its index, and the number of parts.

    It is the whole, (0, 1), where they have no equal part of neighbours.
    """
    rows = mesh.devices.reshape(mesh.shape["data"] * mesh.shape["fsdp"], -1)
    mine = [i for i, row in enumerate(rows) if any(one.process_index == jax.process_index() for one in row)]
    first, size = min(mine), max(mine) - min(mine) + 1
    return (first // size, len(rows) // size) if first % size == 0 and len(rows) % size == 0 else (0, 1)


def _up(number: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-number // multiple) * multiple


def _held_to(sharding: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jax.lax.with_sharding_constraint(x, sharding)


def _leaves(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    return jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, Axes))


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


FILLED = {"source", "target", "source_lengths", "target_lengths", "labels", "loss_weights"}
"""Entries of batches whose positions can be filled up: behind the length of its side, none is read."""

OF_LETTER = {
    "D": ("model.width", "to {}"),
    "E": ("model.width", "so that the state of each direction is {}"),
    "N": ("model.num_heads", "to {}"),
    "K": ("model.num_kv_heads", "to {}, and model.num_heads to a multiple of it"),
    "F": ("model.feed_forward_width", "to {}"),
    "V": ("model.vocab_size", "to {}, which may be more than the tokenizer has"),
}
"""Letter -> the setting of its size, and to what its error proposes to change it, with the next multiple."""
