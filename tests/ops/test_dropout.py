import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import check_gradients, normal
from transformer.errors import UserError
from transformer.ops.dropout import check_rate, dropout, kept_entries

X = normal(0, 101, 103)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_rate_of_zero_as_an_array_changes_nothing(dtype):
    x = X.astype(dtype)
    kept = jax.jit(dropout)(x, jnp.array(0.0), jax.random.key(0))
    np.testing.assert_array_equal(kept, x)
    assert kept.dtype == x.dtype


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    kept = jax.jit(dropout)(jnp.ones((400, 500)), jnp.array(rate), jax.random.key(1))
    share = np.mean(np.asarray(kept) == 0)
    np.testing.assert_allclose(share, rate, atol=0.01)
    np.testing.assert_allclose(np.mean(kept), 1.0, atol=0.03)
    np.testing.assert_allclose(np.max(kept), 1 / (1 - rate), rtol=1e-5)


def test_entries_that_share_a_random_word_are_dropped_independently_of_each_other():
    dropped = np.asarray(~kept_entries((400, 1000), 0.3, jax.random.key(1)))
    np.testing.assert_allclose(np.mean(dropped[:, ::2]), 0.3, atol=0.005)
    np.testing.assert_allclose(np.mean(dropped[:, 1::2]), 0.3, atol=0.005)
    np.testing.assert_allclose(np.mean(dropped[:, ::2] & dropped[:, 1::2]), 0.09, atol=0.005)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0), (0, 3)], ids=str)
def test_every_shape_has_its_entries_and_every_rate_below_one_keeps_some(shape):
    assert kept_entries(shape, 0.5, jax.random.key(0)).shape == shape
    nearly_all = jnp.nextafter(jnp.float32(1), jnp.float32(0))
    assert np.mean(kept_entries((1000, 1000), nearly_all, jax.random.key(0))) < 1e-4


def test_no_rate_compiles_to_nothing():
    program = jax.make_jaxpr(lambda x, key: dropout(x, None, key))(X, jax.random.key(0))
    assert not program.eqns
    assert jax.make_jaxpr(lambda x, key: dropout(x, jnp.array(0.0), key))(X, jax.random.key(0)).eqns


def test_one_program_serves_all_rates_and_another_key_drops_others():
    run = jax.jit(lambda x, rate, key: dropout(x, rate, key))
    results = [
        np.asarray(run(X, jnp.array(rate), jax.random.key(seed))) for rate, seed in ((0.2, 0), (0.6, 0), (0.2, 1))
    ]
    assert run._cache_size() == 1
    dropped = [r == 0 for r in results]
    assert (dropped[0] & dropped[1] == dropped[0]).all()
    assert (dropped[0] != dropped[2]).any()


def test_a_rate_without_a_key_is_refused():
    with pytest.raises(UserError, match="key"):
        dropout(X, 0.1, None)


@pytest.mark.parametrize("rate", [-0.1, 1, float("nan"), np.float32(1.5), jnp.array(1.0), "a", True, jnp.ones(2)])
def test_a_rate_that_is_no_share_is_refused(rate):
    """Also where another array of the program is traced."""
    with pytest.raises(UserError, match="a rate of dropout is a share of the entries; got"):
        check_rate(rate)
    with pytest.raises(UserError, match="a rate of dropout"):
        jax.eval_shape(lambda x: check_rate(rate) or x, X)
    jax.eval_shape(check_rate, jnp.array(0.5))


def test_the_gradient_of_dropout_is_that_of_finite_differences():
    check_gradients(lambda x: dropout(x, jnp.array(0.4), jax.random.key(2)), normal(1, 3, 5))
