"""The rows of a beam's cache: a beginning keeps the row of the one that it continues, and the others are copies."""

import jax.numpy as jnp
import numpy as np

from transformer.decoding import rows

B, W = 50, 5


def ordered():
    """Draw the parents of beginnings, and return them with their order."""
    parent_BW = np.random.default_rng(2).integers(0, W, (B, W)).astype(np.int32)
    return parent_BW, np.asarray(rows.in_place(jnp.asarray(parent_BW)))


def test_each_beginning_has_a_place():
    _, order_BW = ordered()
    np.testing.assert_array_equal(np.sort(order_BW, axis=1), np.tile(np.arange(W), (B, 1)))


def test_the_first_beginning_of_each_parent_stands_at_its_place():
    parent_BW, order_BW = ordered()
    for parents, order in zip(parent_BW.tolist(), order_BW.tolist(), strict=True):
        for parent in set(parents):
            assert order[parent] == parents.index(parent)


def test_rows_are_copied_as_by_their_index():
    parent_BW, order_BW = ordered()
    row_R = (np.take_along_axis(parent_BW, order_BW, axis=1) + W * np.arange(B)[:, None]).reshape(-1)
    assert (row_R != np.arange(B * W)).any()
    key = np.random.default_rng(3).normal(size=(2, B * W, 3)).astype(np.float32)
    cache = {"key": key, "index": np.arange(B * W), "source": np.ones(7)}
    copied = rows.copy(cache, {"key": 1, "index": 0, "source": -1}, jnp.asarray(row_R.astype(np.int32)))
    np.testing.assert_array_equal(copied["key"], key[:, row_R])
    np.testing.assert_array_equal(copied["index"], row_R)
    np.testing.assert_array_equal(copied["source"], cache["source"])
