"""Logits that are computed in pieces are summed to what the whole is, and never held at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training import update
from experiments.training.update import token_sums
from tests.experiments.training.test_update import B, T, V, batch_for
from tests.fixtures.speeds import more
from transformer import build


@functools.cache
def model_of(architecture, vocab_size=V):
    model = build(
        {"architecture": architecture, "vocab_size": vocab_size, "width": 12, "num_heads": 3, "num_layers": 1}
    )
    return model, model.init(0)


def sums(architecture, smoothing, key=None):
    model, params = model_of(architecture)
    batch = jax.tree.map(jnp.asarray, batch_for(architecture))

    def loss(params):
        own = {"key": jax.random.key(key), "dropout": jnp.array(0.2)} if key is not None else {}
        return token_sums(model, params, batch, smoothing=smoothing, **own)

    (objective, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return objective, found, gradient


@pytest.mark.parametrize("smoothing", [None, 0.2])
@pytest.mark.parametrize("architecture", ["decoder_only", more("encoder_only"), more("seq2seq"), more("rnn_seq2seq")])
def test_sums_and_gradients_of_pieces_are_those_of_the_whole(architecture, smoothing, monkeypatch):
    """The 40 tokens are 3 pieces of 14, the last one filled up with 2; some tokens alone have a weight."""
    smoothing = None if smoothing is None else jnp.asarray(smoothing)
    whole = sums(architecture, smoothing, key=1)
    monkeypatch.setattr(update, "MOST_LOGITS", B * T * V // 3 + 1)
    pieces = sums(architecture, smoothing, key=1)
    assert float(pieces[1]["tokens"]) == float(whole[1]["tokens"])
    assert float(pieces[1]["correct"]) == float(whole[1]["correct"])
    assert (float(pieces[0]) == float(pieces[1]["nats"])) == (smoothing is None)
    np.testing.assert_allclose(pieces[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(pieces[1]["nats"], whole[1]["nats"], rtol=1e-6)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(whole[2]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * largest), pieces[2], whole[2])


def held(vocab_size):
    """Bytes that the compiled gradient holds beside its arguments and results."""
    model, params = model_of("decoder_only", vocab_size)
    batch = jax.tree.map(jnp.asarray, batch_for("decoder_only"))
    gradient = jax.jit(jax.grad(lambda params: token_sums(model, params, batch), has_aux=True))
    return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes


def test_the_program_holds_no_logits_of_all_tokens(monkeypatch):
    """Pieces of one token; the gradient of the embedding is as large as 12 of them."""
    vocab_size = 8192
    whole = 4 * B * T * vocab_size
    assert held(vocab_size) > whole
    monkeypatch.setattr(update, "MOST_LOGITS", vocab_size)
    assert held(vocab_size) < whole
