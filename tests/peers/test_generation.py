"""Greedy generation and beam search give the tokens that Hugging Face's `generate` gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers.families import V, pair
from transformer.decoding import Beam, NoRepeatNgram, RepetitionPenalty, generate

pytestmark = pytest.mark.peers

PADDING, STEPS = 0, 9
LENGTHS_B = np.array([5, 1, 3, 4])


def generated_by_hugging_face(theirs, torch, prompts_BT: np.ndarray, end: int | None, **settings) -> np.ndarray:
    """New tokens, B steps, the best first. They pad prompts on the left, and give no column after the last end."""
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
        **settings,
    ).numpy()[:, length:]
    filling = PADDING if "num_beams" not in settings else end
    return np.pad(tokens, [(0, 0), (0, STEPS - tokens.shape[1])], constant_values=filling)


@pytest.mark.parametrize(("name", "seed"), [("gpt2", 12), ("llama", 7)])
def test_greedy_tokens_and_ends_are_those_of_hugging_face(name, seed, torch, hugging_face, make_golden):
    theirs, model, params = pair(name, hugging_face, make_golden, seed=seed)
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


@pytest.mark.parametrize(("penalty", "early_stopping"), [(0.0, True), (1.0, False), (1.0, "never"), (2.0, False)])
def test_beams_are_those_of_hugging_face(penalty, early_stopping, torch, hugging_face, make_golden):
    theirs, model, params = pair("gpt2", hugging_face, make_golden, seed=32)
    prompts_BT = np.random.default_rng(5).integers(1, V, size=(len(LENGTHS_B), max(LENGTHS_B)))
    theirs.generation_config.eos_token_id = None
    batch = {"target": jnp.asarray(prompts_BT, jnp.int32), "target_lengths": jnp.asarray(LENGTHS_B, jnp.int32)}
    ends = set()
    for width in (2, 3, 5):
        beam = Beam(width, penalty, early_stopping=early_stopping, num_return=2)
        run = jax.jit(functools.partial(generate, model, steps=STEPS, strategy=beam))
        for end in (3, 11):
            expected_RT = generated_by_hugging_face(
                theirs, torch, prompts_BT, end, num_beams=width, length_penalty=penalty,
                early_stopping=early_stopping, num_return_sequences=2,
            )  # fmt: skip
            found = run(params, batch, end=jnp.asarray(end), padding=jnp.asarray(end))  # theirs fills with the end
            np.testing.assert_array_equal(np.asarray(found.tokens).reshape(-1, STEPS), expected_RT)
            ends |= set(np.asarray(found.lengths).reshape(-1))
    assert len(ends) > 2 or early_stopping == "never"


def test_rules_are_those_of_hugging_face(torch, hugging_face, make_golden):
    theirs, model, params = pair("gpt2", hugging_face, make_golden, seed=12)
    prompts_BT = np.random.default_rng(5).integers(1, V, size=(len(LENGTHS_B), max(LENGTHS_B)))
    theirs.generation_config.eos_token_id = None
    batch = {"target": jnp.asarray(prompts_BT, jnp.int32), "target_lengths": jnp.asarray(LENGTHS_B, jnp.int32)}
    rows = np.flatnonzero(max(LENGTHS_B) == LENGTHS_B)  # theirs reads the padding of the others as written
    for rule, name, value in (
        (NoRepeatNgram(2), "no_repeat_ngram_size", 2),
        (RepetitionPenalty(1.7), "repetition_penalty", 1.7),
    ):
        expected_BT = generated_by_hugging_face(theirs, torch, prompts_BT, 3, **{name: value})
        run = jax.jit(functools.partial(generate, model, steps=STEPS, padding=PADDING, rules=(rule,)))
        found = np.asarray(run(params, batch, end=jnp.asarray(3)).tokens)
        np.testing.assert_array_equal(found[rows], expected_BT[rows])
