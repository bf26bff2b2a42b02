import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import more
from tests.fixtures.tiny import RECURRENT, B, S, T, V, batch, tiny

# Each position holds a token of its own, so that the gradient on a row of the table is that on a position.
TARGET = jnp.array(np.stack([np.random.default_rng(b).permutation(np.arange(S + 1, V))[:T] for b in range(B)]))
SOURCE = jnp.array(np.stack([np.random.default_rng(b).permutation(np.arange(1, S + 1)) for b in range(B)]))


def influence(model, inputs, table):
    """T T booleans: does the gradient of the logits at t on the token at s have any entry that is not zero?"""

    def one(example, query):
        example = {name: x[None] for name, x in example.items()}

        def loss(table_VD):
            logits = model.model.apply({**model.params, table: {"table": table_VD}}, example)["logits"]
            return jnp.sum(logits[0, query] * jnp.arange(1.0, V + 1))

        slope_VD = jax.grad(loss)(model.params[table]["table"])
        return jnp.any(slope_VD != 0, axis=-1)

    by_token = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(inputs, jnp.arange(T))
    return np.take_along_axis(np.asarray(by_token), np.asarray(inputs["target"])[:, None, :], axis=-1)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("decoder_only", {}),
        more("decoder_only", {"position": "rotary", "norm_placement": "post", "norm": "rms", "activation": "swiglu"}),
        more("decoder_only", {"kernels": "fast"}),
        ("seq2seq", {}),
        ("rnn_seq2seq", RECURRENT[0]),
        *(more("rnn_seq2seq", settings) for settings in RECURRENT[1:]),
    ],
)
def test_future_tokens_get_zero_gradient(architecture, settings):
    model = tiny(architecture, **{**settings, "tie_embeddings": False})
    table = "embedding" if architecture == "decoder_only" else "target_embedding"
    sees = influence(model, {"target": TARGET, "source": SOURCE}, table)
    np.testing.assert_array_equal(sees, np.broadcast_to(np.tri(T, dtype=bool), (B, T, T)))


def test_a_window_of_two_sees_as_far_as_two_layers_carry_it():
    sees = influence(tiny("decoder_only", tie_embeddings=False, window=2), {"target": TARGET}, "embedding")
    distance = np.arange(T)[:, None] - np.arange(T)
    np.testing.assert_array_equal(sees, np.broadcast_to((distance >= 0) & (distance <= 2), (B, T, T)))


def test_only_the_prefix_sees_both_ways():
    prefix = np.array([3, 0, 5])
    inputs = {"target": TARGET, "prefix_lengths": jnp.array(prefix)}
    sees = influence(tiny("decoder_only", tie_embeddings=False), inputs, "embedding")
    t, s = np.arange(T)[:, None], np.arange(T)
    np.testing.assert_array_equal(sees, (s <= t) | (s < prefix[:, None, None]))


@pytest.mark.parametrize("settings", [{"position": "learned"}, {"score": "additive", "position": "none"}])
def test_future_tokens_do_not_change_a_bit_of_earlier_logits(settings):
    model, inputs = tiny("decoder_only", **settings), {"target": TARGET}
    before = model(inputs)
    for t in range(1, T):
        after = model({"target": TARGET.at[:, t:].set(1)})
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


def test_every_position_of_an_encoder_sees_every_other():
    model, inputs = tiny("encoder_only"), {"source": batch()["source"]}
    before = model(inputs)
    for s in range(S):
        other = (inputs["source"][:, s] + 1) % V
        assert (model({"source": inputs["source"].at[:, s].set(other)}) != before).any(axis=-1).all()


def test_without_positions_the_encoder_commutes_with_permutation():
    model, source = tiny("encoder_only", position="none"), batch()["source"]
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(model({"source": source[:, order]}), model({"source": source})[:, order], 1e-4, 1e-4)
    placed = tiny("encoder_only", position="sinusoidal")
    assert np.abs(placed({"source": source[:, order]}) - placed({"source": source})[:, order]).max() > 0.01


def test_without_cross_attention_the_logits_do_not_depend_on_the_source():
    inputs = batch()
    other = {**inputs, "source": (inputs["source"] + 1) % V, "source_lengths": inputs["source_lengths"][::-1]}
    blind, seeing = tiny("seq2seq", cross_attention=False), tiny("seq2seq")
    np.testing.assert_array_equal(blind(other), blind(inputs))
    assert (seeing(other) != seeing(inputs)).any(axis=-1).all()
