"""Greedy generation gives the tokens that Hugging Face's `generate` gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers.families import FAMILIES, V
from transformer.decoding import generate

pytestmark = pytest.mark.peers

PADDING, STEPS = 0, 9
LENGTHS_B = np.array([5, 1, 3, 4])


def generated_by_hugging_face(theirs, torch, prompts_BT: np.ndarray, end: int | None) -> np.ndarray:
    """New tokens, B steps. They pad prompts on the left, and give no column after the last example's end."""
    length = prompts_BT.shape[1]
    left_BT = np.stack([np.roll(row, length - n) for row, n in zip(prompts_BT, LENGTHS_B, strict=True)])
    seen_BT = np.arange(length) >= length - LENGTHS_B[:, None]
    tokens = theirs.generate(
        torch.from_numpy(left_BT),
        attention_mask=torch.from_numpy(seen_BT).long(),
        do_sample=False,
        max_new_tokens=STEPS,
        eos_token_id=end,
        pad_token_id=PADDING,
    ).numpy()[:, length:]
    return np.pad(tokens, [(0, 0), (0, STEPS - tokens.shape[1])], constant_values=PADDING)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_greedy_tokens_and_ends_are_those_of_hugging_face(name, torch, hugging_face, make_golden):
    theirs, model, params = FAMILIES[name].pair(hugging_face, make_golden, seed=7)
    prompts_BT = np.random.default_rng(5).integers(1, V, size=(len(LENGTHS_B), max(LENGTHS_B)))
    theirs.generation_config.eos_token_id = None
    endless_BM = generated_by_hugging_face(theirs, torch, prompts_BT, None)
    assert len(np.unique(endless_BM)) >= 4, "a model that repeats itself shows little"

    batch = {"target": jnp.asarray(prompts_BT, jnp.int32), "target_lengths": jnp.asarray(LENGTHS_B, jnp.int32)}
    ours = jax.jit(functools.partial(generate, model), static_argnames=("steps", "end", "padding"))
    settings = {"steps": STEPS, "padding": PADDING}
    np.testing.assert_array_equal(ours(params, batch, end=None, **settings).tokens, endless_BM)
    ends = [end for end in np.unique(endless_BM[:, 1:-1]) if not np.all(endless_BM == end, axis=1).any()]
    assert ends, "no token ends an example in the middle"
    for end in map(int, ends[:3]):  # some examples end in the middle, others run on
        expected_BM = generated_by_hugging_face(theirs, torch, prompts_BT, end)
        assert not np.array_equal(expected_BM, endless_BM)
        np.testing.assert_array_equal(ours(params, batch, end=end, **settings).tokens, expected_BM)
