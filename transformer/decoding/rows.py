"""Rows of a cache: which axis of each array counts the examples, so that hypotheses can be repeated and copied.

The cache of a model is any tree of arrays: keys and values with a leading L, recurrent states, counters. The axis of
the examples is the one that grows by 1 where the batch has an example more; an array without it is shared by all.

A cache is far larger than what else a step of a beam writes, so as little of it as possible is moved: of the beginnings
that continue one and the same, the first takes its row as it stands (`in_place`), and the others are copied into rows
that nothing continues (`copy`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

Tree = Any
"""A nested dict of arrays."""


def example_axes(
    start: Callable[[dict[str, Any]], Tree], batch: Mapping[str, Any], cache: Tree, shared: Sequence[str] = ()
) -> Tree:
    """Find the axis of the examples in each array of a cache; nothing is computed.

    Args:
        start: function of a batch that returns its cache.
        batch: arrays with a leading B.
        cache: `start(batch)`.
        shared: names of parts of the cache that are read once for all hypotheses of an example.

    Returns:
        A tree like the cache: the index of the axis, -1 where there is none or the part is shared.

    >>> start = lambda batch: {"key": jnp.zeros((2, len(batch["target"]), 5)), "index": jnp.zeros(())}
    >>> batch = {"target": jnp.ones((3, 4), int)}
    >>> example_axes(start, batch, start(batch))
    {'index': -1, 'key': 1}
    """
    larger = {
        name: jax.ShapeDtypeStruct((np.shape(x)[0] + 1, *np.shape(x)[1:]), jnp.result_type(x))
        for name, x in batch.items()
    }

    def axis(path: Any, one: Array, other: jax.ShapeDtypeStruct) -> int:
        if any(getattr(entry, "key", None) in shared for entry in path):
            return -1
        return next((i for i, (b, c) in enumerate(zip(one.shape, other.shape, strict=True)) if b != c), -1)

    return jax.tree_util.tree_map_with_path(axis, cache, jax.eval_shape(start, larger))


def repeat(cache: Tree, axes: Tree, count: int) -> Tree:
    """Return a cache in which each example stands `count` times, one after the other.

    >>> repeat({"index": jnp.arange(2)}, {"index": 0}, 2)["index"].tolist()
    [0, 0, 1, 1]
    """
    return jax.tree.map(lambda x, axis: x if axis < 0 else jnp.repeat(x, count, axis), cache, axes)


def in_place(parent_BW: Int[Array, "B W"]) -> Int[Array, "B W"]:
    """Return an order of W beginnings in which the first one with parent w stands at place w, for each parent.

    Args:
        parent_BW: index of the beginning that each one continues, 0 .. W - 1.

    >>> in_place(jnp.array([[2, 2, 1, 1]])).tolist()
    [[1, 2, 0, 3]]
    """
    W = parent_BW.shape[1]
    child_BPW = parent_BW[:, None] == jnp.arange(W, dtype=parent_BW.dtype)[None, :, None]  # of the beginning at place P
    has_child_BP = jnp.any(child_BPW, axis=2)
    is_first_BW = jnp.any(child_BPW & (jnp.cumsum(child_BPW, axis=2) == 1), axis=1)
    other_BW = jnp.argsort(is_first_BW, axis=1)
    free_BP = jnp.cumsum(~has_child_BP, axis=1) - 1
    other_BP = jnp.take_along_axis(other_BW, free_BP, axis=1, mode="clip")
    return jnp.where(has_child_BP, jnp.argmax(child_BPW, axis=2), other_BP)


def copy(cache: Tree, axes: Tree, row_R: Int[Array, "R"]) -> Tree:
    """Return a cache whose row r is the row `row_R[r]` of this one; only rows that change are written.

    Args:
        row_R: 0 .. R - 1; a row that is copied stays where it is, as `in_place` orders them.

    >>> copy({"index": jnp.arange(5, 8)}, {"index": 0}, jnp.array([0, 0, 2]))["index"].tolist()
    [5, 5, 7]
    """
    changes_R = row_R != jnp.arange(row_R.shape[0], dtype=row_R.dtype)
    first_R = jnp.argsort(~changes_R)

    def copy_row(i: Array, cache: Tree) -> Tree:
        to = first_R[i]

        def one(x: Array, axis: int) -> Array:
            if axis < 0:
                return x
            row = jax.lax.dynamic_index_in_dim(x, row_R[to], axis)
            return jax.lax.dynamic_update_index_in_dim(x, row, to, axis)

        return jax.tree.map(one, cache, axes)

    return jax.lax.fori_loop(0, jnp.sum(changes_R), copy_row, cache)


def resize(cache: Tree, now: Tree, then: Tree) -> Tree:
    """Return a cache that is longer, with zeros at the end, or shorter.

    Args:
        now, then: trees like the cache, of arrays or their shapes, before and after; of other axes than those that
            differ, such as that of the examples, the cache may have another length than both.

    >>> resize({"key": jnp.ones((2, 3))}, {"key": jnp.ones((1, 3))}, {"key": jnp.ones((1, 5))})["key"].tolist()
    [[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]]
    """

    def one(x: Array, a: Any, b: Any) -> Array:
        return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, n - m, 0) for m, n in zip(a.shape, b.shape, strict=True)])

    return jax.tree.map(one, cache, now, then)
