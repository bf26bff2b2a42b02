"""Prompts: what `start` and `generate` read, of every type of integers, and what cannot be continued."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, B, S, batch, tiny
from tests.models.test_batches import TYPES
from transformer import Model
from transformer.decoding import generate
from transformer.errors import UserError


def prompts(architecture):
    """Prompts of each architecture."""
    inputs = {name: np.asarray(array) for name, array in batch().items()}
    return {
        **inputs,
        "target": inputs["target"][:, :3],
        "target_lengths": np.array([3, 1, 2]),
        "prefix_lengths": np.array([2, 0, 1]),
    }


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name == "seq2seq"))
@pytest.mark.parametrize("dtype", core_of(TYPES, lambda name: name == "uint16"))
def test_generation_reads_prompts_of_every_type(architecture, dtype):
    model = tiny(architecture)
    inputs = {name: array.astype(dtype) for name, array in prompts(architecture).items()}
    if architecture == "decoder_only":
        inputs["prefix_lengths"] = np.minimum(inputs["prefix_lengths"], inputs["target_lengths"])
    run = functools.partial(generate, model.model, steps=3, end=1)
    for given in (inputs, jax.tree.map(jnp.asarray, inputs)):
        assert jax.eval_shape(run, model.params, given).tokens.dtype == jnp.int32
    logits_BV, cache, _ = jax.eval_shape(functools.partial(model.model.start, steps=2), model.params, inputs)
    token_B = jax.ShapeDtypeStruct((B,), jnp.dtype(dtype) if not dtype.endswith("64") else jnp.int32)
    again = jax.eval_shape(model.model.step, model.params, token_B, cache)
    assert jax.tree.structure(again) == jax.tree.structure((logits_BV, cache, {}))
    assert again[0] == logits_BV
    assert jax.tree.leaves(again[1]) == jax.tree.leaves(cache)


@pytest.mark.parametrize(
    ("architecture", "changes", "says"),
    [
        ("decoder_only", {"target_lengths": [3, 0, 2]}, "a prompt without a token; got 0 at example 1"),
        ("decoder_only", {"target_lengths": [3, -4, 2]}, "a negative length; got -4 at example 1"),
        ("decoder_only", {"target_segments": [[1, 1, 1], [0, 0, 0], [1, 1, 0]]}, "a prompt without a token"),
        ("decoder_only", {"target_segments": [[1, 1, 2]] * 3}, r"one prompt of each row; got \[1 1 2\] at example 0"),
        ("seq2seq", {"target_segments": [[1, 1, 2]] * 3}, "one prompt of each row"),
        ("decoder_only", {"prefix_lengths": [3, 2, 2]}, "a prefix longer than the prompt; got 2 at example 1"),
        ("encoder_only", {"prefix_lengths": [2, S, 2]}, "prefix_lengths.*got 5 at example 1; expected 0 to 4"),
        ("rnn_seq2seq", {"target_segments": [[1, 1, 1]] * 3}, "got target_segments alone"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused_by_name(architecture, changes, says):
    model = tiny(architecture)
    changes = {name: np.array(x) for name, x in changes.items()}
    inputs = {name: x for name, x in prompts(architecture).items() if name != "prefix_lengths"}
    with pytest.raises(UserError, match=says):
        model.model.start(model.params, {**inputs, **changes}, steps=2)


@pytest.mark.parametrize("steps", [0, -1, 2.5, "3", None])
def test_fewer_steps_than_one_are_refused(steps):
    model = tiny("decoder_only")
    with pytest.raises(UserError, match="nothing to decode"):
        Model.start.__wrapped__(
            model.model, model.params, prompts("decoder_only"), steps=steps
        )  # types are not checked
