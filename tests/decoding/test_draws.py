"""Draws of `generate`: functions of the key, from the distribution of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.test_strategies import DRAWS, KEY, logits, probability, softmax
from tests.fixtures.tiny import B, V, batch, tiny
from transformer.decoding import Greedy, Sampling, generate
from transformer.errors import UserError

STEPS = 5


@pytest.fixture(scope="module")
def written():
    """A function (strategy, key) -> tokens of a tiny decoder."""
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    run = jax.jit(
        lambda key, strategy: (
            generate(model.model, model.params, prompt, steps=STEPS, end=None, strategy=strategy, key=key).tokens
        ),
        static_argnums=1,
    )
    return lambda strategy, key=KEY: np.asarray(run(key, strategy))


def test_what_is_generated_is_a_function_of_the_key(written):
    first, again, other = written(Sampling(2.0)), written(Sampling(2.0)), written(Sampling(2.0), jax.random.key(9))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == (B, STEPS)
    assert ((first >= 0) & (first < V)).all()


def test_tokens_of_many_examples_are_drawn_from_the_distribution_of_the_model():
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": jnp.full((1, 2), 7), "target_lengths": jnp.array([2])}
    many = jax.tree.map(lambda x: jnp.repeat(x, DRAWS, axis=0), prompt)
    logits_BV = model.model.start(model.params, prompt, steps=1)[0]
    drawn = generate(model.model, model.params, many, steps=1, end=None, strategy=Sampling(4.0), key=KEY).tokens[:, 0]
    assert probability(np.bincount(drawn, minlength=V), softmax(np.asarray(logits_BV)[0] / 4.0)) > 0.01


def test_sampling_of_one_token_generates_what_greedy_does(written):
    np.testing.assert_array_equal(written(Sampling(top_k=1)), written(Greedy()))
    assert (written(Sampling(2.0)) != written(Greedy())).any()


def test_every_token_is_drawn_with_a_key_of_its_own(written):
    flat = written(Sampling(1e6))  # all tokens as likely: equal keys would draw equal ones
    assert len({tuple(column) for column in flat.T}) == STEPS
    assert len({tuple(row) for row in flat}) == B


class Own:
    """A strategy with one key for all rows that it is given."""

    random = True

    def choose(self, logits_BV, key):
        return jax.random.categorical(key, logits_BV / 2).astype(jnp.int32)


@pytest.mark.parametrize("strategy", [Sampling(2.0, top_k=9), Own()], ids=["sampling", "own"])
def test_an_example_with_a_key_of_its_own_draws_the_same_in_any_batch_and_at_any_place(strategy):
    model, keys = tiny("decoder_only", position="rotary"), jax.vmap(jax.random.key)(jnp.array([5, 9, 2]))
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}

    @jax.jit
    def run(prompt, key):
        return generate(model.model, model.params, prompt, steps=STEPS, end=None, strategy=strategy, key=key).tokens

    together = np.asarray(run(prompt, keys))
    for rows in ([2], [1], [1, 2, 0], [0, 2, 1, 1, 0]):
        rows = np.array(rows)
        found = run({name: x[rows] for name, x in prompt.items()}, keys[rows])
        np.testing.assert_array_equal(found, together[rows])
    of_one_key = run(prompt, jnp.stack([jax.random.fold_in(KEY, b) for b in range(B)]))
    np.testing.assert_array_equal(run(prompt, KEY), of_one_key)
    np.testing.assert_array_equal(run(prompt, jax.random.key_data(keys)), together)  # raw ones
    assert (of_one_key != together).any()


def test_another_number_of_keys_than_examples_is_refused():
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    says = r"another number of keys than examples; got 2 keys; expected one key, or 3: a key for each example"
    for keys in (jax.random.split(KEY, 2), jax.random.key_data(jax.random.split(KEY, 2))):
        with pytest.raises(UserError, match=says):
            generate(model.model, model.params, prompt, steps=2, end=1, strategy=Sampling(), key=keys)


def test_sampling_without_a_key_is_a_user_error():
    with pytest.raises(UserError, match=r"needs a random key; got no key.*jax.random.key"):
        Sampling().choose(jnp.array(logits(0)))
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    with pytest.raises(UserError, match=r"needs a random key; got no key"):
        generate(model.model, model.params, prompt, steps=2, end=1, strategy=Sampling())
