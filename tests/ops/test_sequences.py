"""Sequences as a recurrence reads them: segments and padding, where one begins, and masks that it cannot follow."""

import jax.numpy as jnp
import numpy as np
import pytest

from transformer.errors import UserError
from transformer.ops import masks
from transformer.ops.sequences import sequence_of

SEGMENTS = jnp.array([[7, 7, 3, 3, 0], [0, 2, 0, 2, 4]])


def test_segments_and_lengths_are_numbers_of_segments_in_which_padding_is_zero():
    lengths, prefix = jnp.array([3, 9]), jnp.array([2, 1])
    own = sequence_of(masks.prefix(prefix) & masks.padding(lengths) & masks.segments(SEGMENTS), 2, 5)
    np.testing.assert_array_equal(own.segments_BT, [[7, 7, 3, 0, 0], [0, 2, 0, 2, 4]])
    np.testing.assert_array_equal(own.real, [[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]])
    np.testing.assert_array_equal(own.prefix_B, prefix)
    alone = sequence_of(masks.causal() & masks.padding(lengths), 2, 5)
    np.testing.assert_array_equal(alone.segments_BT, [[1, 1, 1, 0, 0], [1] * 5])
    assert alone.prefix_B is None
    assert sequence_of(masks.everything(), 2, 3).real.all()


def test_a_segment_begins_where_the_last_token_before_has_another():
    begins = sequence_of(masks.segments(SEGMENTS), 2, 5).begins
    np.testing.assert_array_equal(begins, [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    padded = sequence_of(masks.padding(jnp.array([2, 0])), 2, 5)
    assert not padded.begins.any()  # what follows a prompt goes on from it


@pytest.mark.parametrize("mask", [masks.window(2), ~masks.causal(), masks.where(lambda query, key: key < query)])
def test_a_mask_that_no_state_of_constant_size_follows_is_refused(mask):
    with pytest.raises(UserError, match=r"a recurrence cannot follow this mask; got a rule .*lengths and segments"):
        sequence_of(masks.causal() & mask, 2, 5)
