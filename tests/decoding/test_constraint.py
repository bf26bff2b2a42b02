"""Constraints: no answer breaks one, whatever the model, and one that is obeyed changes nothing."""

import functools
import itertools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import more
from tests.fixtures.tiny import randomised
from transformer import build
from transformer.decoding import Beam, Constraint, Greedy, Sampling, any_of, generate, matching, only
from transformer.errors import UserError

TEXTS = (None, None, None, "a", "b", "ab", "1", "12", " ")
"""Text of each token; 0 is padding, 1 begins, 2 ends."""
V, END, STEPS = len(TEXTS), 2, 6
MODEL = build(architecture="decoder_only", vocab_size=V, width=8, num_layers=1, num_heads=2)
BATCH = {"target": jnp.arange(1, 9)[:, None], "target_lengths": jnp.ones(8, jnp.int32)}
PATTERNS = (r"a+b?", r"\d{1,3}", r"(ab|12)( (ab|12))*", r"[^a]b", r"[ab12 ]+")


def text_of(tokens):
    return "".join(TEXTS[token] or "" for token in tokens)


def accepted(constraint, tokens):
    """True where the table leads from the first state to a complete one."""
    state = 0
    for token in tokens:
        state = constraint.table[state, token]
        if state < 0:
            return False
    return bool(constraint.complete[state])


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("end", [END, None])
def test_the_table_of_a_pattern_accepts_what_the_pattern_matches(pattern, end):
    constraint = matching(pattern, TEXTS, end)
    for length in range(1, 4):
        for tokens in itertools.product(range(3, V), repeat=length):
            whole = (*tokens, end) if end is not None else tokens
            assert accepted(constraint, whole) == bool(re.fullmatch(pattern, text_of(tokens))), tokens
            assert not accepted(constraint, (*tokens, 1))
            assert end is None or not accepted(constraint, tokens)


def test_the_first_token_may_have_another_text():
    first = [text and text.strip() for text in TEXTS]
    spaced = [text and f" {text}" for text in TEXTS]
    constraint = matching("a b( ab)*", spaced, END, first=first)
    assert accepted(constraint, (3, 4, END))
    assert accepted(constraint, (3, 4, 5, 5, END))
    assert not accepted(constraint, (3, 3, END))


def test_a_trie_accepts_its_answers_alone():
    answers = [(3, 4), (3,), (5, 6, 7)]
    constraint = any_of(answers, V, END)
    for length in range(4):
        for tokens in itertools.product(range(3, V), repeat=length):
            assert accepted(constraint, (*tokens, END)) == (tokens in answers)


def write(rules, strategy, params, keys):
    """The answers of many models under rules."""

    def one(params, key, first):
        key, prompt = key if strategy.random else None, {"target": first[None, None], "target_lengths": jnp.array([1])}
        return generate(MODEL, params, prompt, steps=STEPS, end=END, strategy=strategy, rules=rules, key=key)

    return jax.jit(jax.vmap(one))(params, keys, 1 + jnp.arange(len(keys)) % (V - 1))


@functools.cache
def many_params(models):
    """Parameters of many random models, some of whose answers are long, and a key for each."""
    random = np.random.default_rng(2)

    def one(path, leaf):
        last = path[-1].key
        spread = {"scale": 0.3, "bias": 0.1, "table": 1.0}.get(last, 8**-0.5)
        return jnp.asarray(2 * (random.normal(size=(models, *leaf.shape)) * spread + (last == "scale")), jnp.float32)

    made = jax.tree_util.tree_map_with_path(one, MODEL.parameter_shapes)
    return made, jax.random.split(jax.random.key(0), models)


@pytest.mark.parametrize(
    ("strategy", "pattern"), [(Greedy(), 4), more(Greedy(), 2), more(Sampling(1.5), 2), (Beam(3), 2)]
)
def test_no_answer_breaks_its_constraint_and_a_greedy_one_that_obeys_is_unchanged(strategy, pattern):
    arguments, pattern, obeyed = many_params(1000), PATTERNS[pattern], 0
    free = write((), strategy, *arguments)
    found = write((matching(pattern, TEXTS, END),), strategy, *arguments)
    for tokens, length, own, own_length in zip(
        *(np.asarray(x).reshape(-1, *x.shape[2:]) for x in (found.tokens, found.lengths, free.tokens, free.lengths)),
        strict=True,
    ):
        assert re.fullmatch(pattern, text_of(tokens[:length]))
        assert tokens[length - 1] == END
        whole = own[own_length - 1] == END and all(TEXTS[token] for token in own[: own_length - 1])
        if isinstance(strategy, Greedy) and whole and re.fullmatch(pattern, text_of(own)):
            obeyed += 1
            np.testing.assert_array_equal(own, tokens)
    assert len(np.unique(found.tokens.reshape(-1, STEPS), axis=0)) > 3
    assert obeyed > 20 or not (isinstance(strategy, Greedy) and pattern == PATTERNS[4])


def test_tokens_alone_are_written():
    run = jax.jit(lambda p: generate(MODEL, p, BATCH, steps=STEPS, end=END, rules=(only([4, 7], V, END),)))
    found = run(randomised(MODEL.parameter_shapes))
    assert set(np.unique(found.tokens)) <= {0, END, 4, 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: matching("(", TEXTS, END), "cannot be read: .*expected a regular expression without look-around"),
        (lambda: matching("(?=a)b", TEXTS, END), "cannot be read|no tokens of the vocabulary"),
        (lambda: matching(r"(a)\1", TEXTS, END), "cannot be read"),
        (
            lambda: matching("xyz", TEXTS, END),
            "no tokens of the vocabulary make a text .*; got 'xyz'",
        ),
        (lambda: any_of([], V, END), r"a constraint without an answer; got \[\]"),
        (lambda: any_of([[3], [99]], V, END), r"answers\[1\] of a constraint are none of the vocabulary; got \[99\]"),
        (
            lambda: only([], V, END),
            r"tokens of a constraint are none of the vocabulary; got \[\]; expected one or more",
        ),
        (lambda: only([3], V, V), "the end of a constraint is outside of the vocabulary; got 9; expected 0 to 8"),
        (lambda: any_of([[3]], V, -1), "the end of a constraint is outside of the vocabulary; got -1"),
        (
            lambda: Constraint(np.array([[0, 2], [-1, -1]]), np.array([True, False])),
            "the table of a constraint leads to no state; got state 2; expected -1, or a state from 0 to 1",
        ),
    ],
)
def test_a_constraint_that_nothing_obeys_or_that_does_not_parse_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_an_empty_pattern_lets_an_answer_end_at_once():
    for end in (END, None):
        assert accepted(matching("", TEXTS, end), (end,) if end is not None else ())
        assert not accepted(matching("", TEXTS, end), (3,))


def test_a_constraint_that_needs_more_tokens_than_there_are_steps_is_refused():
    params = randomised(MODEL.parameter_shapes)
    with pytest.raises(UserError, match=r"needs longer answers than may be written; got 2 tokens; expected 5 or more"):
        generate(MODEL, params, BATCH, steps=2, end=END, rules=(matching("(a|b){4}", TEXTS[:5] + (None,) * 4, END),))


def test_a_constraint_of_another_vocabulary_is_refused():
    params = randomised(MODEL.parameter_shapes)
    with pytest.raises(UserError, match=r"of another vocabulary; got 4 tokens; expected 9"):
        generate(MODEL, params, BATCH, steps=2, end=END, rules=(only([3], 4, END),))


def test_without_the_package_of_patterns_the_error_has_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "interegular", None)
    with pytest.raises(
        UserError, match=r"needs the package interegular; got none\. Install it: pip install interegular"
    ):
        matching("a", TEXTS, END)
