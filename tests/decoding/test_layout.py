"""The loop's layout changes where parameters and caches stand, and no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from transformer.decoding import layout
from transformer.ops.linear import Kernel

KERNELS = {"decoder_only": 2 * 6, "seq2seq": 2 * 10 + 1, "rnn_seq2seq": 0}
"""Number of kernels that a step reads: of attention, feed-forward and head."""

SIZES = {"vocab_size": 11, "width": 8, "num_heads": 2, "max_length": 16}


def is_kernel(x):
    return isinstance(x, Kernel)


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "decoder_only", "position": "rotary", "window": (2, None)},
        {"architecture": "decoder_only", "mixer": "linear", "position": "none"},
        {"architecture": "seq2seq", "tie_embeddings": False},
        {"architecture": "rnn_seq2seq"},
    ],
    ids=["decoder_only", "linear", "seq2seq", "rnn_seq2seq"],
)
def test_a_step_is_the_same_with_layers_one_by_one(settings):
    model = transformer.build({**SIZES, "num_layers": 2, **settings})
    params = model.init(3)
    batch = {"target": jnp.array([[1, 2, 3], [4, 5, 0]]), "target_lengths": jnp.array([3, 2])}
    if "decoder_only" not in settings.values():
        batch |= {"source": jnp.array([[1, 2], [3, 4]]), "source_lengths": jnp.array([2, 1])}
    _, cache, _ = model.start(params, batch, steps=3)
    laid_out, apart = layout.lay_out(model, params), layout.unstacked(model, cache)
    assert (
        len(list(filter(is_kernel, jax.tree.leaves(laid_out, is_leaf=is_kernel)))) == KERNELS[settings["architecture"]]
    )
    for token_B in (jnp.array([7, 8]), jnp.array([2, 2])):
        expected, cache, _ = model.step(params, token_B, cache)
        found, apart, _ = model.step(laid_out, token_B, apart)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), apart, layout.unstacked(model, cache))


def test_activations_are_captured_and_replaced_with_layers_one_by_one():
    model = transformer.build({**SIZES, "architecture": "decoder_only", "num_layers": 3})
    params = model.init(3)
    batch = {"target": jnp.array([[1, 2, 3]]), "target_lengths": jnp.array([3])}
    _, cache, _ = model.start(params, batch, steps=3)
    asked = {
        "capture": ("decoder.*.residual", "decoder.1.self.head"),
        "replace": {"decoder.2.self.head.1": jnp.zeros_like},
    }
    expected = model.step(params, jnp.array([5]), cache, **asked)
    found = model.step(layout.lay_out(model, params), jnp.array([5]), layout.unstacked(model, cache), **asked)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert set(found[2]) == set(expected[2])
    for name, x in expected[2].items():
        np.testing.assert_allclose(found[2][name], x, atol=1e-5)
