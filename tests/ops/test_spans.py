"""Spans and parts of masks: where the keys lie that some queries may see, and the mask of some rows alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures import arrays
from tests.ops.test_forms import EVERY
from tests.ops.test_masks import RULES, B
from transformer.ops import masks
from transformer.ops.blocks import Block, blocks_of

T, S = 6, 7
OF_SIZES = {name: mask for name, mask in EVERY.items() if mask.rules}
"""Masks for the sizes of the fixtures."""


@st.composite
def trees(draw, depth=2):
    """A function that makes a mask: a rule, or masks joined by & or |, or what a mask does not allow."""
    kind = draw(st.sampled_from(["rule", "and", "or", "not"] if depth else ["rule"]))
    if kind == "rule":
        return RULES[draw(st.sampled_from(sorted(RULES)))](draw, T, S)[0]
    if kind == "not":
        inner = draw(trees(depth=depth - 1))
        return lambda: ~inner()
    both = draw(st.lists(trees(depth=depth - 1), min_size=2, max_size=3))
    join = (lambda a, b: a & b) if kind == "and" else (lambda a, b: a | b)
    return lambda: functools.reduce(join, (make() for make in both))


def allowed_by(mask, index=None, S=S, key=None):
    index = jnp.arange(T) if index is None else index
    allowed = mask.allowed(index, S, key)
    return np.broadcast_to(True if allowed is None else np.asarray(allowed), (B, 1, len(index), S))


@given(trees(), st.data())
def test_a_span_covers_every_key_that_its_queries_may_see(make, data):
    first = data.draw(st.integers(0, T - 1))
    last = data.draw(st.integers(first, T - 1))
    mask = make()
    low, high = (int(x) for x in mask.span(first, last, S))
    sees = np.flatnonzero(allowed_by(mask)[:, :, first : last + 1].any((0, 1, 2)))
    assert all(low <= key < high for key in sees)
    traced = mask.span(jnp.array(first), jnp.array(last), S)  # what chunks ask for, at indices that are arrays
    assert [int(x) for x in traced] == [low, high]


@given(trees(), st.data())
def test_a_part_of_a_mask_allows_what_the_mask_does(make, data):
    query, key = data.draw(st.sampled_from([(0, 0), (2, 3), (3, 1)]))
    t_size, s_size = 3, 4  # one size, since each is compiled
    mask = make()
    part = mask.part(query, t_size, key, s_size)
    rows, columns = query + jnp.arange(t_size), key + jnp.arange(s_size)
    expected = allowed_by(mask)[:, :, query : query + t_size, key : key + s_size]
    np.testing.assert_array_equal(allowed_by(part, rows, s_size, columns[None]), expected)


@pytest.mark.parametrize("name", OF_SIZES)
@pytest.mark.parametrize(("query", "key"), [(2, 1), (3, 0)])
def test_a_part_of_each_rule_alone_is_its_rows_and_keys(name, query, key):
    mask, (t_size, s_size) = OF_SIZES[name], (3, 4)
    whole = np.broadcast_to(mask.allowed(jnp.arange(arrays.T), arrays.S), (arrays.B, arrays.N, arrays.T, arrays.S))
    part = mask.part(query, t_size, key, s_size)
    found = part.allowed(query + jnp.arange(t_size), s_size, key + jnp.arange(s_size)[None])
    expected = whole[:, :, query : query + t_size, key : key + s_size]
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


MASKS = {
    "causal": masks.causal(),
    "window": masks.window(3),
    "causal window": masks.causal() & masks.window(3),
    "two windows": masks.window(2) | masks.window(4),
    "causal or window": masks.causal() | masks.window(2),
    "padding": masks.padding(jnp.array([3, 5])),
    "prefix": masks.prefix(jnp.array([4, 1])),
    "padding or causal": masks.padding(jnp.array([3, 1])) | masks.causal(),
    "everything": masks.everything(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 3), (4, 5)])
def test_the_spans_of_rules_by_index_and_length_hold_no_other_key(name, first, last):
    mask = MASKS[name]
    sees = np.flatnonzero(allowed_by(mask)[:, :, first : last + 1].any((0, 1, 2)))
    assert tuple(int(x) for x in mask.span(first, last, S)) == (sees[0], sees[-1] + 1)


def test_ends_that_depend_on_no_array_are_numbers():
    assert (masks.causal() & masks.window(3)).span(2, 4, S) == (0, 5)
    assert (masks.causal() | masks.window(2)).span(2, 4, S) == (0, 6)
    assert (~masks.causal()).span(2, 4, S) == (0, S)
    low, high = (masks.causal() & masks.padding(jnp.array([3, 5]))).span(2, 4, S)
    assert low == 0
    assert isinstance(high, jax.Array)


def test_blocks_read_the_keys_that_their_queries_may_see():
    tops = [(0, 64), (0, 128), (0, 192), (0, 200)]
    found = blocks_of(masks.causal(), 200, 200)
    assert [(block.key, block.S) for block in found] == tops
    assert [(block.query, block.T) for block in found] == [(0, 64), (64, 64), (128, 64), (192, 8)]
    assert blocks_of(masks.causal() & masks.padding(jnp.array([9])), 200, 200) == found
    windows = blocks_of(masks.causal() & masks.window(10), 200, 200)
    assert [(block.key, block.S) for block in windows] == [(0, 64), (55, 73), (119, 73), (183, 17)]
    assert blocks_of(masks.causal(), 200, 100)[-1] == Block(192, 8, 0, 100)


def test_a_mask_that_rules_no_block_out_is_one_block():
    for mask in (masks.everything(), masks.padding(jnp.array([9])), ~masks.causal()):
        assert blocks_of(mask, 200, 200) == (Block(0, 200, 0, 200),)
    assert blocks_of(masks.causal(), 64, 64) == (Block(0, 64, 0, 64),)


def test_a_block_that_sees_nothing_reads_one_key_which_the_mask_hides():
    mask = masks.window(3)
    assert blocks_of(mask, 200, 64)[2] == Block(128, 64, 0, 1)
    assert not np.asarray(mask.allowed(jnp.arange(128, 192), 1)).any()


def test_there_are_sixteen_blocks_at_most():
    found = blocks_of(masks.causal(), 64 * 40, 64 * 40)
    assert len(found) == 16
    assert {block.T for block in found} == {160}
