import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, B, V, batch, cases, tiny
from transformer.errors import UserError

STEPS = 4
PROMPTS = np.array([3, 1, 2])
"""Tokens of each prompt: different in one batch."""


@functools.cache
def stepping(model):
    """A compiled function (params, inputs, tokens S B) -> logits B STEPS V."""

    @jax.jit
    def run(params, inputs, tokens_SB):
        logits_BV, cache, _ = model.start(params, inputs, steps=STEPS)

        def one(cache, tokens_B):
            logits_BV, cache, _ = model.step(params, tokens_B, cache)
            return cache, logits_BV

        later_SBV = jax.lax.scan(one, cache, tokens_SB)[1]
        return jnp.moveaxis(jnp.concatenate([logits_BV[None], later_SBV]), 0, 1)

    return run


def step_by_step(model, inputs, tokens):
    """Logits B STEPS V: those that follow the prompt, whose last token is the first of `tokens`, and the others."""
    return np.asarray(stepping(model.model)(model.params, inputs, tokens.T[1:]))


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
    np.testing.assert_allclose(stepped, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [more(SETTINGS[0]), SETTINGS[1]], ids=str)
def test_cached_is_full_with_a_prefix_that_sees_both_ways(settings):
    model, inputs = tiny("decoder_only", **settings), batch()
    prefix = jnp.array([3, 1, 1])
    full = model({**inputs, "target_lengths": jnp.array(PROMPTS + STEPS), "prefix_lengths": prefix})
    at = PROMPTS[:, None] - 1 + np.arange(STEPS)
    prompt = {"target": inputs["target"][:, :3], "target_lengths": jnp.array(PROMPTS), "prefix_lengths": prefix}
    stepped = step_by_step(model, prompt, jnp.take_along_axis(inputs["target"], at, axis=1))
    np.testing.assert_allclose(stepped, np.take_along_axis(full, at[..., None], axis=1), rtol=0, atol=1e-5)
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


# The end of a cache


def past_the_end(model, inputs, tokens, steps=1):
    """Logits B STEPS + 1 V of `start` and STEPS calls of `step`, though the cache is for `steps` tokens; the caches."""
    step = jax.jit(model.model.step)
    logits_BV, cache, _ = jax.jit(lambda p, b: model.model.start(p, b, steps=steps))(model.params, inputs)
    found, caches = [logits_BV], [cache]
    for tokens_B in tokens.T:
        logits_BV, cache, _ = step(model.params, tokens_B, cache)
        found, caches = [*found, logits_BV], [*caches, cache]
    return np.stack(found, axis=1), caches


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name in ("encoder_only", "decoder_only")))
def test_past_the_end_of_its_cache_an_example_has_nan_and_a_known_end_is_an_error(architecture):
    model, inputs = tiny(architecture, position="learned", tie_embeddings=False), batch()
    if architecture == "encoder_only":
        inputs, first = {"source": inputs["source"]}, np.array([1, 0, 4])
        prompt, tokens = {**inputs, "prefix_lengths": jnp.array(first)}, jnp.zeros((B, STEPS), jnp.int32)
        ends = np.array([1, 1, 1])  # logits: a slot for the one token
    else:
        first, T = PROMPTS - 1, 3
        prompt = {**inputs, "target": inputs["target"][:, :T], "target_lengths": jnp.array(PROMPTS)}
        tokens = jnp.take_along_axis(inputs["target"], first[:, None] + 1 + np.arange(STEPS), axis=1)
        inputs = {**inputs, "target_lengths": jnp.array(PROMPTS + STEPS)}
        ends = T + 1 - PROMPTS + 1 if architecture != "rnn_seq2seq" else np.full(B, STEPS + 1)
    found, caches = past_the_end(model, prompt, tokens)
    at = np.minimum(first[:, None] + np.arange(STEPS + 1), model(inputs).shape[1] - 1)
    full = np.take_along_axis(model(inputs), at[..., None], axis=1)
    known = np.arange(STEPS + 1) < ends[:, None]
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(~known[..., None], found.shape))
    np.testing.assert_allclose(found[known], full[known], rtol=0, atol=1e-5)
    if architecture != "rnn_seq2seq":
        with pytest.raises(UserError, match=r"no step is left.*Call start with more steps"):
            model.model.step(model.params, tokens[:, 0], caches[-1])


def test_a_learned_position_beyond_its_table_has_nan():
    model, inputs = tiny("decoder_only", position="learned", max_length=4), batch()
    prompt = {"target": inputs["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    found, _ = past_the_end(model, prompt, inputs["target"][:, 3:5], steps=2)
    np.testing.assert_array_equal(np.isnan(found[..., 0]).sum(axis=1), [1, 0, 0])


def test_a_mask_slot_that_the_source_does_not_have_is_nan():
    model, source = tiny("encoder_only", position="rotary"), batch()["source"]
    inputs = {"source": source, "source_lengths": jnp.array([5, 3, 4]), "prefix_lengths": jnp.array([3, 0, 3])}
    stepped = step_by_step(model, inputs, jnp.zeros((B, STEPS), jnp.int32))
    np.testing.assert_array_equal((~np.isnan(stepped[..., 0])).sum(axis=1), [2, 3, 1])


def test_an_unknown_token_leaves_the_logits_of_its_example_unknown_and_no_others():
    model, inputs = tiny("decoder_only", position="rotary"), batch()
    prompt = {"target": inputs["target"][:, :3], "target_lengths": jnp.array(PROMPTS)}
    tokens = jnp.ones((B, STEPS), jnp.int32)
    right = step_by_step(model, prompt, tokens)
    in_step = step_by_step(model, prompt, tokens.at[1, 2].set(V))
    bad_prompt = step_by_step(model, {**prompt, "target": prompt["target"].at[2, 0].set(-1)}, tokens)
    expected = right.copy()
    expected[1, 2:] = np.nan
    np.testing.assert_array_equal(in_step, expected)
    expected = right.copy()
    expected[2] = np.nan
    np.testing.assert_array_equal(bad_prompt, expected)
    _, cache, _ = jax.eval_shape(lambda p: model.model.start(p, prompt, steps=2), model.params)
    with pytest.raises(UserError, match=r"token_B.*got 23 at example 1; expected 0 to 22"):
        jax.eval_shape(lambda p, c: model.model.step(p, np.array([0, V, 1]), c), model.params, cache)
    with pytest.raises(UserError, match="token_B has another batch axis"):
        jax.eval_shape(lambda p, c: model.model.step(p, np.array([0, 1]), c), model.params, cache)


# Padding on every route


PADDED = [
    ("seq2seq", ("source", "target")),
    ("seq2seq", ("source",)),
    ("seq2seq", ("target",)),
    ("decoder_only", ("target",)),
    ("rnn_seq2seq", ("source", "target")),  # one of them alone is refused by name
]


@pytest.mark.parametrize(("architecture", "sides"), core_of(PADDED, lambda case: case == PADDED[0]), ids=str)
def test_padding_by_segments_before_and_behind_is_seen_by_nobody(architecture, sides):
    settings = {"position": "sinusoidal", "score": "position_only"}
    model, inputs = tiny(architecture, **(RECURRENT[0] if architecture == "rnn_seq2seq" else settings)), batch()
    inputs = {"source": inputs["source"][:, :3], "target": inputs["target"][:, :2], "target_lengths": jnp.full(B, 2)}
    tokens = jnp.ones((B, STEPS), jnp.int32)
    right = step_by_step(model, inputs, tokens)
    padded = dict(inputs)
    for side in sides:
        padded[side] = jnp.pad(inputs[side], ((0, 0), (1, 1)), constant_values=7)
        padded[f"{side}_segments"] = jnp.pad(jnp.full_like(inputs[side], 4), ((0, 0), (1, 1)))
        if side == "target":
            padded["target_lengths"] = jnp.full(B, 4)
    found = step_by_step(model, padded, tokens)
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-5)
    other = {**padded, **{side: jnp.where(padded[f"{side}_segments"] == 0, 999, padded[side]) for side in sides}}
    np.testing.assert_array_equal(step_by_step(model, other, tokens), found)
