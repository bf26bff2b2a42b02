import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import tiny
from transformer.decoding import Sampling, generate
from transformer.errors import UserError
from transformer.ops.keys import as_key, as_keys


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(7), np.uint16(7), np.array(7), jnp.array(7)])
def test_a_seed_is_its_key(seed):
    assert as_key(seed) == jax.random.key(int(seed))
    assert jax.jit(as_key)(jnp.uint32(seed)) == jax.random.key(int(seed))


def test_typed_and_raw_keys_are_the_same_key():
    for key in (jax.random.key(3), jax.random.PRNGKey(3), np.asarray(jax.random.PRNGKey(3))):
        assert as_key(key) == jax.random.key(3)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (-1, "a seed is out of range; got -1"),
        (2**32, "a seed is out of range; got 4294967296"),
        (10**30, "a seed is out of range; got 10000"),
        (0.5, "a random key or a seed is needed; got a float, 0.5"),
        (True, "a random key or a seed is needed; got a bool, True"),
        (np.zeros(3, np.uint32), r"got uint32 of shape \(3,\)"),
        (np.zeros(2, np.int32), r"got int32 of shape \(2,\)"),
        (jax.random.split(jax.random.key(0)), r"got key<fry> of shape \(2,\).*jax.vmap"),
    ],
)
def test_anything_else_is_refused_in_words(key, says):
    with pytest.raises(UserError, match=says):
        as_key(key)


def test_a_key_for_each_example_is_typed_or_raw_and_seeds_are_no_keys():
    keys = jax.random.split(jax.random.key(0), 3)
    for given in (keys, jax.random.key_data(keys), np.asarray(jax.random.key_data(keys))):
        assert (as_keys(given, 3) == keys).all()
    for one in (7, jax.random.key(7), jax.random.PRNGKey(7)):
        assert as_keys(one, 3) == jax.random.key(7)
    with pytest.raises(UserError, match=r"got int64 of shape \(3,\).*Pass jax.vmap\(jax.random.key\)\(seeds\)"):
        as_keys(np.arange(3), 3)


def test_models_and_dropout_take_seeds_for_keys():
    model = tiny("decoder_only", dropout=0.5).model
    expected = model.init(jax.random.key(5))
    for seed in (5, np.uint8(5), jax.random.PRNGKey(5)):
        jax.tree.map(np.testing.assert_array_equal, model.init(seed), expected)
    prompt = {"target": np.ones((1, 3), int), "target_lengths": np.array([3])}
    seeded, keyed = (
        jax.make_jaxpr(lambda p, k=k: model.apply(p, prompt, key=k)["logits"])(expected) for k in (5, jax.random.key(5))
    )
    assert seeded.out_avals == keyed.out_avals
    run = functools.partial(generate, model, batch=prompt, steps=2, end=1, strategy=Sampling(), key=5)
    assert jax.eval_shape(run, expected).tokens.shape == (1, 2)
