"""The parameters of a model from the tensors of a checkpoint: every one is accounted for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from transformer.errors import UserError, counted
from transformer.interop.described import flat
from transformer.interop.family import Family
from transformer.interop.layout import places, read_array
from transformer.interop.tensors import Tensors, matching
from transformer.models.build import Model, Params
from transformer.nested import named, nest

MOST_LISTED = 12
"""Tensors that an error lists."""


def shapes_of(model: Model) -> dict[str, Any]:
    """Return our names -> shape and axes, the largest first: what is read last takes the least memory beside."""
    shapes = model.parameter_shapes
    arrays, axes = named(shapes), named(model.parameter_axes(shapes))
    order = sorted(arrays, key=lambda name: -int(np.prod(arrays[name].shape)))
    return {name: (tuple(arrays[name].shape), axes[name]) for name in order}


def read_parameters(family: Family, model: Model, stored: Tensors) -> tuple[Params, tuple[str, ...]]:
    """Read the parameters of a model, and list the tensors of heads that it does not have."""
    found, nameless = places(family, shapes_of(model), flat(model.config))
    theirs = _spellings(family, stored)
    faults = {f"{path}: no name in this family" for path in nameless}
    wanted: set[str] = set()
    for place in found:
        for _, name in place.layers:
            wanted.add(name)
            if name not in theirs:
                faults.add(f"{name}: missing, expected {place.theirs}")
            elif stored.stored[theirs[name]].shape != place.theirs:
                faults.add(f"{name}: {stored.stored[theirs[name]].shape}, expected {place.theirs}")
    left = [name for name in theirs if name not in wanted]
    repeated = [name for name in left if name in family.copies]
    for name in repeated:
        if family.copies[name] in theirs and not stored.equal(theirs[name], theirs[family.copies[name]]):
            faults.add(f"{name}: not equal to {family.copies[name]}, of which it is a copy")
    known = {*repeated, *matching(left, family.buffers)}
    unused = [name for name in matching(left, family.of_other_heads) if name not in known]
    faults |= {
        f"{name}: unused, of shape {stored.stored[theirs[name]].shape}"
        for name in left
        if name not in known | {*unused}
    }
    _refuse(stored.directory, sorted(faults))
    starts: dict[str, np.ndarray] = {}

    def start(path: str) -> np.ndarray:
        if not starts:
            starts.update({name: np.asarray(x) for name, x in named(model.init(0)).items()})
        return starts[path]

    # On a CPU the memory is taken as it is: a copy beside it would double what loading needs. It is held to one device.
    as_it_is = jax.default_backend() == "cpu" and jax.device_count() == 1
    on_device = jnp.from_dlpack if as_it_is else jnp.asarray
    arrays = {place.path: on_device(read_array(place, lambda n: stored.read(theirs[n]), start)) for place in found}
    return nest(arrays), tuple(sorted(theirs[name] for name in unused))


def _spellings(family: Family, stored: Tensors) -> dict[str, str]:
    """Return the names of a family's table -> those of a file, which may lack the prefix or have earlier endings."""
    there = set(stored.stored)
    bare = bool(family.prefix) and not any(name.startswith(family.prefix) for name in there)
    ends = {".gamma": ".weight", ".beta": ".bias"}
    found = {}
    for name in there:
        full = name
        for old, new in ends.items():
            full = full.removesuffix(old) + new if full.endswith(old) else full
        heads = [own for own in (*family.copies, *family.of_other_heads) if not own.startswith(family.prefix)]
        found[family.prefix + full if bare and not matching([full], heads) else full] = name
    for copy, original in family.copies.items():  # some files have the copy alone
        if copy in found and original not in found:
            found[original] = found[copy]
    return found


def _refuse(directory: Path, faults: Sequence[str]) -> None:
    """Raise a UserError that lists the tensors of a checkpoint which do not fit."""
    if not faults:
        return
    lines = [f"  {fault}" for fault in faults[:MOST_LISTED]]
    more = [f"  and {len(faults) - MOST_LISTED} more"] if len(faults) > MOST_LISTED else []
    verb = "does" if len(faults) == 1 else "do"
    raise UserError("\n".join([f"{directory}: {counted(len(faults), 'tensor')} {verb} not fit:", *lines, *more]))
