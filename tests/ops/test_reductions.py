import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import normal
from transformer.ops.reductions import global_norm, max_last, sum_last, sum_of_squares

sum_and_max = jax.jit(lambda x: (sum_last(x), max_last(x)))
squares = jax.jit(sum_of_squares)

LENGTHS = (1, 2, 17, 32, 37, 48, 96, 97, 256)
"""A row of one entry, short and long ones, odd, even and prime, and those that are halved once and several times."""


@pytest.mark.parametrize("length", LENGTHS)
def test_sums_and_maxima_of_rows_are_those_of_numpy_in_float64(length):
    x = np.asarray(normal(length, 3, 2, length)) + np.float32(0.5)
    total, largest = sum_and_max(x)
    wide = np.asarray(x, np.float64)
    # 1e-6 of the sum of what is added, whatever its signs; the largest seen is 1e-7.
    bound = 1e-6 * np.abs(wide).sum(-1, keepdims=True)
    assert (np.abs(total - wide.sum(-1, keepdims=True)) <= bound).all()
    np.testing.assert_array_equal(largest, wide.max(-1, keepdims=True))


@pytest.mark.parametrize("place", [0, 15, 16, 47, 48, 95])
def test_the_largest_entry_is_found_wherever_it_stands_and_nan_is_not_hidden(place):
    x = np.zeros((1, 96), np.float32)
    x[0, place] = 3.0
    np.testing.assert_array_equal(sum_and_max(x), 3.0)
    x[0, place] = np.nan
    assert np.isnan(sum_and_max(x)).all()


def test_gradients_of_rows_are_those_of_the_plain_sum():
    x, weight = normal(0, 2, 96), normal(1, 2, 1)
    slopes = jax.jit(jax.grad(lambda x: jnp.sum(weight * sum_last(x))))(x)
    np.testing.assert_array_equal(slopes, np.broadcast_to(weight, (2, 96)))


@pytest.mark.parametrize("shape", [(), (1,), (16,), (17,), (3, 32), (5, 7, 2), (16, 61), (16, 97)], ids=str)
def test_the_sum_of_squares_is_that_of_numpy_in_float64(shape):
    x = np.asarray(normal(3, *shape))
    narrow = x.astype(jnp.bfloat16)
    found = squares(narrow)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.square(narrow.astype(np.float64)).sum(), rtol=1e-6)
    np.testing.assert_allclose(squares(x), np.square(np.asarray(x, np.float64)).sum(), rtol=1e-6)


def test_the_global_norm_is_that_of_all_entries_of_all_arrays():
    tree = {"a": normal(1, 3, 32), "b": (normal(2, 5), normal(3)), "c": None}
    flat = np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])
    np.testing.assert_allclose(jax.jit(global_norm)(tree), np.linalg.norm(flat), rtol=1e-6)
    assert float(global_norm({})) == 0.0
