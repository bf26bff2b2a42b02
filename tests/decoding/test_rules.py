"""Rules: what may be written, by definition in NumPy; the same under every strategy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import batch, tiny
from transformer.decoding import Allowed, Beam, Greedy, MinLength, NoRepeatNgram, RepetitionPenalty, Sampling, generate
from transformer.decoding.rules import Rules
from transformer.errors import UserError

V, STEPS = 7, 6
PROMPT = np.array([[1, 2, 1, 0], [3, 3, 4, 5]])
LENGTHS = np.array([3, 4])


def logits_after(rule, tokens, steps=STEPS):
    """The logits that a rule returns after each number of tokens, and those it read."""
    logits = np.random.default_rng(0).normal(size=(tokens.shape[1] + 1, 2, V)).astype(np.float32)
    rules = Rules((rule,), steps)
    state = rules.start({"target": jnp.array(PROMPT), "target_lengths": jnp.array(LENGTHS)}, 2)
    found = []
    for i in range(tokens.shape[1] + 1):
        found.append(np.asarray(rules.apply(jnp.array(logits[i]), state, i)))
        if i < tokens.shape[1]:
            state = rules.read(state, jnp.array(tokens[:, i]), i)
    return logits, np.array(found)


TOKENS = np.array([[2, 1, 2, 6], [3, 4, 5, 3]])


def written_before(example, count):
    return [*PROMPT[example, : LENGTHS[example]], *TOKENS[example, :count]]


def test_tokens_of_prompt_and_answer_are_penalised_once():
    logits, found = logits_after(RepetitionPenalty(1.5), TOKENS)
    for i in range(5):
        for b in range(2):
            expected = logits[i, b].copy()
            for token in set(written_before(b, i)):
                expected[token] = expected[token] * 1.5 if expected[token] < 0 else expected[token] / 1.5
            np.testing.assert_allclose(found[i, b], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_no_sequence_of_n_tokens_stands_twice(size):
    logits, found = logits_after(NoRepeatNgram(size), TOKENS)
    for i in range(5):
        for b in range(2):
            text = written_before(b, i)
            there = {tuple(text[j : j + size]) for j in range(len(text) - size + 1)}
            last = text[len(text) - size + 1 :] if size > 1 else []
            banned = [token for token in range(V) if (*last, token) in there]
            assert (np.isneginf(found[i, b]).nonzero()[0] == banned).all(), (i, b)
            kept = [token for token in range(V) if token not in banned]
            np.testing.assert_array_equal(found[i, b, kept], logits[i, b, kept])


def test_no_end_comes_before_the_minimum_length():
    logits, found = logits_after(MinLength(2, (0, 5)), TOKENS)
    assert np.isneginf(found[:2, :, [0, 5]]).all()
    np.testing.assert_array_equal(found[2:], logits[2:])
    np.testing.assert_array_equal(found[:, :, 1:5], logits[:, :, 1:5])


def test_a_function_of_what_was_written_allows_tokens():
    def ascending(tokens_BL, lengths_B):  # no token below the last one
        last_B = jnp.take_along_axis(tokens_BL, lengths_B[:, None] - 1, axis=1)
        return jnp.arange(V) >= last_B

    _, found = logits_after(Allowed(ascending), TOKENS)
    for i in range(5):
        for b in range(2):
            assert (np.isfinite(found[i, b]) == (np.arange(V) >= written_before(b, i)[-1])).all()


@pytest.mark.parametrize("strategy", [Greedy(), Sampling(2.0), Beam(2)], ids=str)
def test_rules_hold_for_every_strategy(strategy):
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    rules = (NoRepeatNgram(1), MinLength(3, 1))
    key = jax.random.key(0) if strategy.random else None
    run = jax.jit(
        lambda p, b: generate(model.model, p, b, steps=5, end=1, strategy=strategy, rules=rules, key=key, padding=0)
    )
    found = jax.tree.map(np.asarray, run(model.params, prompt))
    for b in range(3):
        own = list(found.tokens[b, : found.lengths[b]])
        assert len(set(own)) == len(own)
        assert not set(own) & {int(t) for t in prompt["target"][b, : prompt["target_lengths"][b]]}
        assert 1 not in own[:3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepetitionPenalty(0.0), r"penalty of RepetitionPenalty is wrong; got 0\.0; expected a number above 0"),
        (lambda: NoRepeatNgram(0), r"size of NoRepeatNgram is wrong; got 0; expected a number from 1"),
        (lambda: MinLength(-1, 0), r"length of MinLength is wrong; got -1; expected a number from 0"),
    ],
)
def test_a_wrong_value_of_a_rule_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
