import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.errors import UserError
from transformer.ops import mask_rules, masks
from transformer.ops.attend import attend

B = 2


def brute_force(b, t_size, s_size, rule):
    """B T S booleans from a rule on numbers, one entry at a time."""
    return np.array([[[rule(t, s, i) for s in range(s_size)] for t in range(t_size)] for i in range(b)])


@st.composite
def described(draw):
    """Sizes, makers of one to three rules (JAX is not called while an example is drawn), and their join in NumPy."""
    t_size, s_size = draw(st.sampled_from([(1, 1), (1, 7), (6, 1), (5, 4), (4, 6)]))  # each is compiled
    names = draw(st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=3))
    makers, arrays = zip(*(RULES[name](draw, t_size, s_size) for name in names), strict=True)
    return t_size, s_size, makers, np.logical_and.reduce(arrays)


def joined(makers):
    return functools.reduce(lambda one, other: one & other, (make() for make in makers))


def causal_rule(draw, t_size, s_size):
    return masks.causal, brute_force(B, t_size, s_size, lambda t, s, b: s <= t)


def window_rule(draw, t_size, s_size):
    size = draw(st.integers(1, 5))
    return lambda: masks.window(size), brute_force(B, t_size, s_size, lambda t, s, b: abs(t - s) < size)


def padding_rule(draw, t_size, s_size):
    lengths = [draw(st.integers(0, s_size)) for _ in range(B)]
    return lambda: masks.padding(jnp.array(lengths)), brute_force(B, t_size, s_size, lambda t, s, b: s < lengths[b])


def segments_rule(draw, t_size, s_size):
    ids = st.integers(0, 2)
    query = draw(st.lists(st.lists(ids, min_size=t_size, max_size=t_size), min_size=B, max_size=B))
    key = draw(st.lists(st.lists(ids, min_size=s_size, max_size=s_size), min_size=B, max_size=B))
    expected = brute_force(B, t_size, s_size, lambda t, s, b: query[b][t] == key[b][s] and key[b][s] != 0)
    return lambda: masks.segments(jnp.array(query), jnp.array(key)), expected


def prefix_rule(draw, t_size, s_size):
    lengths = [draw(st.integers(0, s_size)) for _ in range(B)]
    expected = brute_force(B, t_size, s_size, lambda t, s, b: s <= t or s < lengths[b])
    return lambda: masks.prefix(jnp.array(lengths)), expected


def given_rule(draw, t_size, s_size):
    axes = draw(st.sampled_from([(t_size, s_size), (B, t_size, s_size), (B, 1, t_size, s_size)]))
    allowed = np.random.default_rng(draw(st.integers(0, 99))).random(axes) < 0.5
    plain = allowed[:, 0] if allowed.ndim == 4 else allowed
    return lambda: masks.given(jnp.array(allowed)), np.broadcast_to(plain, (B, t_size, s_size))


def where_rule(draw, t_size, s_size):
    step = draw(st.integers(1, 3))
    rule = brute_force(B, t_size, s_size, lambda t, s, b: (t + s) % step == 0)
    return lambda: masks.where(lambda query, key: (query + key) % step == 0), rule


RULES = {
    "causal": causal_rule,
    "window": window_rule,
    "padding": padding_rule,
    "segments": segments_rule,
    "prefix": prefix_rule,
    "given": given_rule,
    "where": where_rule,
}


def booleans(mask, t_size, s_size, heads=1):
    allowed = mask.allowed(jnp.arange(t_size), s_size)
    return np.broadcast_to(True if allowed is None else np.asarray(allowed), (B, heads, t_size, s_size))


@settings(max_examples=80)
@given(described())
def test_joined_masks_are_the_logical_and_of_their_definitions(case):
    t_size, s_size, makers, expected = case
    mask = joined(makers)
    np.testing.assert_array_equal(booleans(mask, t_size, s_size)[:, 0], expected)
    for same in (joined(makers[::-1]), mask & masks.everything(), masks.everything() & mask):
        np.testing.assert_array_equal(booleans(same, t_size, s_size)[:, 0], expected)


@settings(max_examples=40)
@given(described(), st.data())
def test_unions_and_complements_are_those_of_sets(case, data):
    t_size, s_size, makers, _ = case
    maker, b = data.draw(st.sampled_from(sorted(RULES.items())))[1](data.draw, t_size, s_size)
    one, two, a = joined(makers), maker(), case[3]
    expected = [
        (one | two, a | b),
        (~one, ~a),
        (~~one, a),
        (~(one & two), ~a | ~b),
        (~(one | two), ~a & ~b),
        (one & ~two | two & ~one, a ^ b),
        (one | masks.everything(), a | True),
        (one & ~masks.everything(), a & False),
        (~masks.everything() | one, a),
    ]
    for mask, found in expected:
        np.testing.assert_array_equal(booleans(mask, t_size, s_size)[:, 0], found)


def test_everything_allows_everything_and_its_complement_nothing():
    assert masks.everything().allowed(jnp.arange(3), 4) is None
    assert (masks.causal() | masks.everything()).allowed(jnp.arange(3), 4) is None
    assert not booleans(~masks.everything(), 3, 4).any()


def test_booleans_and_functions_are_operands_on_both_sides():
    def odd(query, key):
        return key % 2 == 1

    array = np.asarray(np.random.default_rng(0).random((B, 4, 6)) < 0.5)
    causal, keys = np.tri(4, 6, dtype=bool), np.arange(6) % 2 == 1
    for own, plain in ((odd, keys), (jnp.asarray(array), array)):
        for mask, expected in (
            (masks.causal() & own, causal & plain),
            (own & masks.causal(), causal & plain),
            (masks.causal() | own, causal | plain),
            (own | masks.causal(), causal | plain),
        ):
            np.testing.assert_array_equal(booleans(mask, 4, 6)[:, 0], np.broadcast_to(expected, (B, 4, 6)))


@pytest.mark.parametrize("kernels", ["plain", "fast"])
def test_a_row_that_a_joined_mask_hides_is_exactly_zero(kernels):
    query, key = (jax.random.normal(jax.random.key(i), (B, 4, 3, 5)) for i in range(2))
    found = attend(query, key, key, mask=~(masks.causal() | (lambda query, key: query > 2)), kernels=kernels)
    assert not np.asarray(found)[:, 3].any()
    assert np.asarray(found)[:, :3].all()
    assert not np.asarray(attend(query, key, key, mask=~masks.everything(), kernels=kernels)).any()


def test_a_joined_mask_is_an_argument_of_jit_and_vmap():
    def same(query, key):
        return query == key

    def make(lengths):
        return ~masks.padding(lengths) | same

    lengths = jnp.array([[2, 3], [0, 4]])
    sees = jax.vmap(lambda row: make(row).allowed(jnp.arange(4), 5))(lengths)
    argument = jax.jit(lambda mask: mask.allowed(jnp.arange(4), 5))
    for row, found in zip(lengths, sees, strict=True):
        np.testing.assert_array_equal(found, argument(make(row)))
        expected = brute_force(B, 4, 5, lambda t, s, b, row=row: s >= row[b] or t == s)
        np.testing.assert_array_equal(found[:, 0], expected)


@given(described(), st.integers(0, 5))
def test_one_query_against_a_cache_sees_its_row_of_the_whole_mask(case, position):
    t_size, s_size, makers, _ = case
    position = min(position, t_size - 1)
    rules = tuple(rule for rule in joined(makers).rules if not isinstance(rule, mask_rules.Segments | mask_rules.Given))
    whole = masks.Mask(rules).allowed(jnp.arange(t_size), s_size)
    row = masks.Mask(rules).allowed(jnp.full((B, 1), position), s_size)
    if rules:
        whole = jnp.broadcast_to(whole, (B, 1, t_size, s_size))
        np.testing.assert_array_equal(jnp.broadcast_to(row, (B, 1, 1, s_size)), whole[:, :, position : position + 1])


def test_examples_may_stand_at_different_positions():
    allowed = masks.causal().allowed(jnp.array([[1], [3]]), 5)
    np.testing.assert_array_equal(allowed[:, 0, 0], [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])


def test_a_mask_given_for_each_head_is_kept_for_each_head():
    allowed = np.random.default_rng(0).random((B, 3, 4, 5)) < 0.5
    result = booleans(masks.given(jnp.array(allowed)) & masks.causal(), 4, 5, heads=3)
    np.testing.assert_array_equal(result, allowed & np.tri(4, 5, dtype=bool))


def test_with_causal_a_window_is_the_last_positions():
    row = booleans(masks.causal() & masks.window(3), 7, 7)[0, 0, 5]
    np.testing.assert_array_equal(np.flatnonzero(row), [3, 4, 5])


def test_a_mask_is_a_pytree_and_its_window_may_be_traced():
    sees = jax.jit(lambda mask, size: (mask & masks.window(size)).allowed(jnp.arange(4), 6))
    expected = brute_force(B, 4, 6, lambda t, s, b: s < (2, 5)[b] and abs(t - s) < 2)
    np.testing.assert_array_equal(sees(masks.padding(jnp.array([2, 5])), jnp.array(2))[:, 0], expected)


@pytest.mark.parametrize("size", [0, -1])
def test_a_window_without_the_query_itself_is_refused(size):
    with pytest.raises(UserError, match="window"):
        masks.window(size)


def test_a_mask_of_one_axis_is_refused():
    with pytest.raises(UserError, match="axes T S"):
        masks.given(jnp.ones(3, bool))
