"""The cache of a sliding window has as many rows as the window, and its logits are those of a full pass."""

import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from transformer.decoding import Beam, generate

STEPS = 6
LENGTHS = np.array([5, 1, 3])
SIZES = {"vocab_size": 11, "width": 8, "num_heads": 2, "num_layers": 2, "max_length": 16}


def made(**settings):
    model = transformer.build({**SIZES, "architecture": "decoder_only", **settings})
    return model, model.init(5, scale=2.0)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"window": 3, "position": "rotary"}, 3),
        ({"window": (2, 4), "position": "learned"}, 4),
        ({"window": 1, "position": "alibi"}, 1),
        ({"window": 3, "position": "relative", "num_kv_heads": 1, "attention": {"sink": True}}, 3),
        ({"window": 30}, 5 + STEPS),
        ({"window": (3, None)}, 5 + STEPS),
    ],
)
def test_a_windows_cache_has_its_rows_and_the_logits_of_a_full_pass(settings, rows):
    model, params = made(**settings)
    tokens_BT = np.random.default_rng(0).integers(1, 11, (3, 5 + STEPS))
    prompt = {"target": jnp.asarray(tokens_BT[:, :5]), "target_lengths": jnp.asarray(LENGTHS)}
    logits_BV, cache, _ = model.start(params, prompt, steps=STEPS)
    assert cache["blocks"]["self"]["key"].shape[-2] == rows
    whole = np.asarray(model.apply(params, {"target": jnp.asarray(tokens_BT)})["logits"])
    for step in range(STEPS):
        np.testing.assert_allclose(logits_BV, whole[np.arange(3), LENGTHS + step - 1], atol=1e-5)
        logits_BV, cache, _ = model.step(params, jnp.asarray(tokens_BT[np.arange(3), LENGTHS + step]), cache)


def test_beams_and_batches_read_their_own_rings():
    model, params = made(window=3)
    prompts = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    padded = jnp.asarray([[*row, *[0] * (5 - len(row))] for row in prompts])
    batch = {"target": padded, "target_lengths": jnp.asarray(LENGTHS)}
    for options in ({}, {"strategy": Beam(3)}):
        both = generate(model, params, batch, steps=STEPS, end=0, **options)
        for row, prompt in enumerate(prompts):
            own = {"target": jnp.asarray([prompt]), "target_lengths": jnp.asarray([len(prompt)])}
            alone = generate(model, params, own, steps=STEPS, end=0, **options)
            np.testing.assert_array_equal(alone.tokens[0], both.tokens[row])
            np.testing.assert_allclose(alone.scores[0], both.scores[row], atol=1e-5)
