"""Rules: what may be written, by definition in NumPy; the same under every strategy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import batch, tiny
from transformer.decoding import (
    Allowed,
    Banned,
    Beam,
    Forced,
    Greedy,
    MinLength,
    NoRepeatNgram,
    RepetitionPenalty,
    Sampling,
    generate,
)
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


@pytest.mark.parametrize(("first_only", "steps"), [(False, range(5)), (True, range(1))])
def test_banned_tokens_are_not_written_at_any_step_or_at_the_first(first_only, steps):
    logits, found = logits_after(Banned((0, 5), first_only), TOKENS)
    for i in range(5):
        banned = [0, 5] if i in steps else []
        assert (np.isneginf(found[i]) == np.isin(np.arange(V), banned)).all()
        kept = [token for token in range(V) if token not in banned]
        np.testing.assert_array_equal(found[i][:, kept], logits[i][:, kept])


@pytest.mark.parametrize(("last", "at"), [(False, 0), (True, 4)])
def test_a_forced_token_is_alone_at_the_first_or_the_last_step(last, at):
    logits, found = logits_after(Forced(3, last), TOKENS, steps=5)
    np.testing.assert_array_equal(found[at], np.where(np.arange(V) == 3, 0.0, -np.inf)[None].repeat(2, axis=0))
    others = [i for i in range(5) if i != at]
    np.testing.assert_array_equal(found[others], logits[others])


def test_the_later_of_two_rules_that_contradict_each_other_has_the_last_word():
    assert np.isfinite(np.asarray(applied(Banned(3), Forced(3)))[:, 3]).all()
    assert np.isneginf(applied(Forced(3), Banned(3))).all()


def applied(*rules):
    every = Rules(rules, STEPS)
    batch = {"target": jnp.array(PROMPT), "target_lengths": jnp.array(LENGTHS)}
    return every.apply(jnp.ones((2, V)), every.start(batch, 2), 0)


def test_rules_of_fixed_tokens_can_be_hashed_and_compared_whatever_their_tokens_were_given_as():
    assert Banned([np.int64(3), 4]) == Banned((3, 4)) != Banned((3, 4), first_only=True)
    assert hash(Banned(np.array([3, 4]))) == hash(Banned((3, 4)))
    assert hash(Forced(np.int32(3))) == hash(Forced(3))
    assert Banned(3).tokens == (3,)


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
    rules = (NoRepeatNgram(1), MinLength(3, 1), Banned((9, 13)), Banned(11, first_only=True), Forced(13, last=True))
    key = jax.random.key(0) if strategy.random else None
    run = jax.jit(
        lambda p, b: generate(model.model, p, b, steps=5, end=1, strategy=strategy, rules=rules, key=key, padding=0)
    )
    found = jax.tree.map(np.asarray, run(model.params, prompt))
    for b in range(3):
        own = list(found.tokens[b, : found.lengths[b]])
        assert len(set(own)) == len(own)
        assert not set(own[:4]) & {int(t) for t in prompt["target"][b, : prompt["target_lengths"][b]]}
        assert 1 not in own[:3]
        assert 9 not in own
        assert own[0] != 11
        assert len(own) < 5 or own[4] == 13


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepetitionPenalty(0.0), r"penalty of RepetitionPenalty is wrong; got 0\.0; expected a number above 0"),
        (lambda: NoRepeatNgram(0), r"size of NoRepeatNgram is wrong; got 0; expected a number from 1"),
        (lambda: MinLength(-1, 0), r"length of MinLength is wrong; got -1; expected a number from 0"),
        (lambda: Banned((3, -1)), r"tokens of Banned is wrong; got -1; expected a number from 0"),
        (lambda: Forced(True), r"token of Forced is wrong; got True; expected a whole number"),
        (lambda: applied(Banned((3, V))), rf"a token of Banned is outside .*; got {V}; expected 0 to {V - 1}"),
        (lambda: applied(Forced(V)), rf"the token of Forced is outside .*; got {V}; expected 0 to {V - 1}"),
        (lambda: applied(MinLength(1, (0, V))), rf"the end of MinLength is outside of the vocabulary; got {V}"),
    ],
)
def test_a_wrong_value_of_a_rule_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
