import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, B, batch, cases, tiny

STEPS = 4
PROMPTS = np.array([3, 1, 2])
"""Tokens of each prompt: different in one batch."""


def step_by_step(model, inputs, tokens):
    """Logits B STEPS V: those that follow the prompt, whose last token is the first of `tokens`, and the others."""

    @jax.jit
    def run(params, inputs, tokens_SB):
        logits_BV, cache, _ = model.model.start(params, inputs, steps=STEPS)

        def one(cache, tokens_B):
            logits_BV, cache, _ = model.model.step(params, tokens_B, cache)
            return cache, logits_BV

        later_SBV = jax.lax.scan(one, cache, tokens_SB)[1]
        return jnp.moveaxis(jnp.concatenate([logits_BV[None], later_SBV]), 0, 1)

    return np.asarray(run(model.params, inputs, tokens.T[1:]))


SETTINGS = [
    {"position": "learned"},
    {"position": "rotary", "window": 2, "norm": "rms", "bias": False},
    {"position": "sinusoidal", "num_kv_heads": 1, "score": "additive", "norm_placement": "post"},
    {"position": "none", "num_kv_heads": 4, "kernels": "fast", "tie_embeddings": False, "unroll": True},
]


CORE = [
    ("decoder_only", SETTINGS[1]),
    ("seq2seq", SETTINGS[3]),
    ("rnn_seq2seq", RECURRENT[0]),
]


@pytest.mark.parametrize(
    ("architecture", "settings"),
    core_of(cases(("decoder_only", "seq2seq", "rnn_seq2seq"), SETTINGS), lambda case: case in CORE),
    ids=str,
)
def test_cached_is_full_step_by_step(architecture, settings):
    model, inputs = tiny(architecture, **settings), batch()
    full = model({**inputs, "target_lengths": jnp.array(PROMPTS + STEPS)})
    at = PROMPTS[:, None] - 1 + np.arange(STEPS)
    tokens = jnp.take_along_axis(inputs["target"], at, axis=1)
    # Behind the shorter prompts stand other tokens, which must not be seen.
    prompt = jnp.where(np.arange(3) < PROMPTS[:, None], inputs["target"][:, :3], 21)
    stepped = step_by_step(model, {**inputs, "target": prompt, "target_lengths": jnp.array(PROMPTS)}, tokens)
    expected = np.take_along_axis(full, at[..., None], axis=1)
    np.testing.assert_allclose(stepped, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("settings", [more(SETTINGS[0]), SETTINGS[1]], ids=str)
def test_cached_is_full_with_a_prefix_that_sees_both_ways(settings):
    model, inputs = tiny("decoder_only", **settings), batch()
    prefix = jnp.array([3, 1, 1])
    full = model({**inputs, "target_lengths": jnp.array(PROMPTS + STEPS), "prefix_lengths": prefix})
    at = PROMPTS[:, None] - 1 + np.arange(STEPS)
    prompt = {"target": inputs["target"][:, :3], "target_lengths": jnp.array(PROMPTS), "prefix_lengths": prefix}
    stepped = step_by_step(model, prompt, jnp.take_along_axis(inputs["target"], at, axis=1))
    np.testing.assert_allclose(stepped, np.take_along_axis(full, at[..., None], axis=1), rtol=1e-4, atol=1e-4)
    causal = model({**inputs, "target_lengths": jnp.array(PROMPTS + STEPS)})
    assert np.abs(full - causal)[0, :3].max() > 1e-3


@pytest.mark.parametrize("settings", [SETTINGS[0], more(SETTINGS[1])], ids=str)
def test_an_encoder_only_model_gives_the_logits_of_its_slots_in_order(settings):
    model, inputs = tiny("encoder_only", **settings), batch()
    inputs = {"source": inputs["source"]}
    slots = np.array([1, 0, 1])
    stepped = step_by_step(model, {**inputs, "prefix_lengths": jnp.array(slots)}, jnp.zeros((B, STEPS), jnp.int32))
    at = slots[:, None] + np.arange(STEPS)
    np.testing.assert_allclose(stepped, np.take_along_axis(model(inputs), at[..., None], axis=1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name == "seq2seq"))
def test_a_bfloat16_cache_is_the_full_model_up_to_rounding(architecture):
    model, inputs = tiny(architecture, position="rotary", dtype="bfloat16"), batch()
    if architecture == "encoder_only":
        inputs = {"source": inputs["source"], "prefix_lengths": jnp.array([1, 0, 1])}
        at = np.array([1, 0, 1])[:, None] + np.arange(STEPS)
        tokens = jnp.zeros((B, STEPS), jnp.int32)
    else:
        at = PROMPTS[:, None] - 1 + np.arange(STEPS)
        tokens = jnp.take_along_axis(inputs["target"], at, axis=1)
    full = model({name: x for name, x in inputs.items() if not name.startswith(("target_l", "prefix"))})
    prompt = {**inputs, "target_lengths": jnp.array(PROMPTS)}
    stepped = step_by_step(model, prompt, tokens)
    assert stepped.dtype == np.float32
    np.testing.assert_allclose(stepped, np.take_along_axis(full, at[..., None], axis=1), rtol=0.1, atol=0.15)
