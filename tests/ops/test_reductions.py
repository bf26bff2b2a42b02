import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import normal
from transformer.ops.reductions import global_norm, max_last, sum_last, sum_of_squares

LENGTHS = (1, 2, 17, 32, 37, 48, 96, 97, 256)
"""A row of one entry, short and long ones, odd, even and prime, and those that are halved once and several times."""


@pytest.mark.parametrize("length", LENGTHS)
def test_sums_and_maxima_of_rows_are_those_of_numpy_in_float64(length):
    x = normal(length, 3, 2, length) + 0.5
    wide = np.asarray(x, np.float64)
    # 1e-6 of the sum of what is added, whatever its signs; the largest seen is 1e-7.
    bound = 1e-6 * np.abs(wide).sum(-1, keepdims=True)
    assert (np.abs(sum_last(x) - wide.sum(-1, keepdims=True)) <= bound).all()
    np.testing.assert_array_equal(max_last(x), wide.max(-1, keepdims=True))


@pytest.mark.parametrize("place", [0, 15, 16, 47, 48, 95])
def test_the_largest_entry_is_found_wherever_it_stands_and_nan_is_not_hidden(place):
    x = jnp.zeros((1, 96)).at[0, place].set(3.0)
    assert float(max_last(x)[0, 0]) == 3.0
    assert float(sum_last(x)[0, 0]) == 3.0
    spoilt = x.at[0, place].set(jnp.nan)
    assert np.isnan(max_last(spoilt)).all()
    assert np.isnan(sum_last(spoilt)).all()


def test_gradients_of_rows_are_those_of_the_plain_sum():
    x, weight = normal(0, 2, 96), normal(1, 2, 1)
    np.testing.assert_array_equal(
        jax.grad(lambda x: jnp.sum(weight * sum_last(x)))(x), np.broadcast_to(weight, (2, 96))
    )


@pytest.mark.parametrize("shape", [(), (1,), (16,), (17,), (3, 32), (5, 7, 2), (16, 61), (16, 97)], ids=str)
def test_the_sum_of_squares_is_that_of_numpy_in_float64(shape):
    x = normal(3, *shape)
    found = sum_of_squares(x.astype(jnp.bfloat16))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.square(np.asarray(x.astype(jnp.bfloat16), np.float64)).sum(), rtol=1e-6)
    np.testing.assert_allclose(sum_of_squares(x), np.square(np.asarray(x, np.float64)).sum(), rtol=1e-6)


def test_the_global_norm_is_that_of_all_entries_of_all_arrays():
    tree = {"a": normal(1, 3, 32), "b": (normal(2, 5), normal(3)), "c": None}
    flat = np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])
    np.testing.assert_allclose(global_norm(tree), np.linalg.norm(flat), rtol=1e-6)
    assert float(global_norm({})) == 0.0
