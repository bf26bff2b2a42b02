"""The layout of parameters and caches in the loop of generation: each layer by itself, kernels as outputs x inputs.

The layers of a model are stacked, with a leading L, and `scan` copies a layer's parameters from the stack whenever it
reads them, which is once for each token. The loop reads them many times, so they are copied once, before it. A product
of a few vectors with a matrix is bound by memory, and reads a matrix of outputs x inputs along its rows: on 2 cores
with AVX2, one vector at 10 GB/s from a stack, at 19 from separate matrices, at 25 from transposed ones.
"""

import dataclasses
import math
from typing import Any

import jax
from jax import Array

from transformer.models.build import Cache, Model, Params
from transformer.nn.parameter_axes import Axes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel as the loop reads it.

    Attributes:
        matrix: outputs x inputs.
        shape: of the parameter, inputs before outputs.
    """

    matrix: Array
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})


FEW = 32
"""Most vectors whose product with a matrix is bound by memory."""


def lay_out(model: Model, params: Params, rows: int) -> Params:
    """Return parameters as the loop reads them; as they are for a model whose `step` applies no stack of blocks.

    Args:
        rows: number of tokens that a step reads.
    """
    stack = stepped_stack(model)
    if stack is None:
        return params
    axes = model.parameter_axes(params)
    blocks = unstack(params[stack]["blocks"])
    if rows > FEW:
        return {**params, stack: {**params[stack], "blocks": blocks}}
    layers = tuple(jax.tree.map(_stored, layer, axes[stack]["blocks"]) for layer in blocks)
    head = {"head": jax.tree.map(_stored, params["head"], axes["head"])} if "head" in params else {}
    return {**params, **head, stack: {**params[stack], "blocks": layers}}


def parameters(laid_out: Params) -> Params:
    """Return the parameters that `lay_out` has laid out, for `model.step`, with the layers of a stack in a tuple."""
    return jax.tree.map(_restored, laid_out, is_leaf=lambda x: isinstance(x, Kernel))


def unstacked(model: Model, cache: Cache) -> Cache:
    """Return a cache with the layers of the stack that `step` applies in a tuple."""
    return cache if stepped_stack(model) is None else {**cache, "blocks": unstack(cache["blocks"])}


def stepped_stack(model: Model) -> str | None:
    """Return the name of the stack whose blocks `step` applies, where they may stand one by one."""
    name = getattr(model.module, "stepped_stack", None)
    return name if name is not None and "residual" in model.stacks.get(name, {}) else None


def unstack(tree: Any) -> tuple[Any, ...]:
    """Return the layers of a tree whose arrays have a leading L.

    >>> [layer["scale"].tolist() for layer in unstack({"scale": jax.numpy.array([1, 2])})]
    [1, 2]
    """
    layers = jax.tree.leaves(tree)[0].shape[0]
    return tuple(jax.tree.map(lambda x, i=i: x[i], tree) for i in range(layers))


def _stored(x: Array, axes: Axes) -> Array | Kernel:
    if axes.kind != "matrix":
        return x
    width = math.prod(x.shape[: len(axes.inputs)])
    return Kernel(x.reshape(width, -1).T, x.shape)


def _restored(x: Any) -> Array:
    return x.matrix.T.reshape(x.shape) if isinstance(x, Kernel) else x
