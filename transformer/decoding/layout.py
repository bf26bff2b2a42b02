"""The layout of parameters and caches in the loop of generation: each layer by itself, kernels as outputs x inputs.

The layers of a model are stacked, with a leading L, and `scan` copies a layer's parameters from the stack whenever it
reads them, which is once for each token. The loop reads them many times, so they are copied once, before it. A product
of a few vectors with a matrix is bound by memory: on 2 cores with AVX2, one vector reads a stack at 10 GB/s, separate
matrices at 19, and matrices of outputs x inputs at 25 (`ops.linear.Kernel`).
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax import Array

from transformer.models.build import Cache, Model, Params
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import FEED_FORWARDS
from transformer.nn.parameter_axes import Axes
from transformer.ops.linear import Kernel


def lay_out(model: Model, params: Params) -> Params:
    """Return parameters for the steps of a loop; as they are for a model whose `step` applies no stack of blocks.

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=3))
    >>> len(lay_out(model, model.init(0))["decoder"]["blocks"])
    3
    """
    stack = stepped_stack(model)
    if stack is None:
        return params
    axes, config = model.parameter_axes(params), model.config
    rows = {"self": MIXERS.of(config, "mixer"), "feed_forward": FEED_FORWARDS.of(config, "feed_forward")}
    sublayers = {"cross", *(name for name, row in rows.items() if row.by_linear)}

    def stored(part: Params, own: Mapping[str, Any]) -> Params:
        return {name: _kernels(x, own[name], config.dtype) if name in sublayers else x for name, x in part.items()}

    layers = tuple(stored(layer, axes[stack]["blocks"]) for layer in unstack(params[stack]["blocks"]))
    head = {"head": _kernels(params["head"], axes["head"], config.dtype)} if "head" in params else {}
    return {**params, **head, stack: {**params[stack], "blocks": layers}}


def unstacked(model: Model, cache: Cache) -> Cache:
    """Return a cache with the layers of the stack that `step` applies in a tuple.

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=3))
    >>> prompt = {"target": [[1, 2]], "target_lengths": [2]}
    >>> len(unstacked(model, model.start(model.init(0), prompt, steps=1)[1])["blocks"])
    3
    """
    return cache if stepped_stack(model) is None else {**cache, "blocks": unstack(cache["blocks"])}


def stepped_stack(model: Model) -> str | None:
    """Return the name of the stack whose blocks `step` applies, where they may stand one by one; else None.

    >>> import transformer
    >>> stepped_stack(transformer.build(dict(architecture="decoder_only", vocab_size=7)))
    'decoder'
    """
    name = getattr(model.module, "stepped_stack", None)
    return name if name is not None and "residual" in model.stacks.get(name, {}) else None


def has_row_for_each_token(model: Model) -> bool:
    """Return whether the caches of the layers that `step` applies have a row for each token, in their order.

    >>> import transformer
    >>> has_row_for_each_token(transformer.build(dict(architecture="decoder_only", vocab_size=7)))
    True
    """
    return stepped_stack(model) is not None and MIXERS.of(model.config, "mixer").keeps_window


def unstack(tree: Any) -> tuple[Any, ...]:
    """Return the layers of a tree whose arrays have a leading L.

    >>> [layer["scale"].tolist() for layer in unstack({"scale": jax.numpy.array([1, 2])})]
    [1, 2]
    """
    layers = jax.tree.leaves(tree)[0].shape[0]
    return tuple(jax.tree.map(lambda x, i=i: x[i], tree) for i in range(layers))


def _kernels(params: Params, axes: Mapping[str, Any], dtype: str) -> Params:
    """Return parameters with each array "kernel" as a `Kernel` of the compute type."""

    def one(path: Any, x: Array, own: Axes) -> Array | Kernel:
        if path[-1].key != "kernel":
            return x
        width = math.prod(x.shape[: len(own.inputs)])
        return Kernel(x.astype(dtype).reshape(width, -1).T, x.shape)

    return jax.tree_util.tree_map_with_path(one, params, axes)
