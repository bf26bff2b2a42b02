import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.axes import LEGEND, check_shape
from transformer.errors import UserError
from transformer.nn.dropout import Dropout
from transformer.nn.names import HEAD_AXIS, SITES, parse_name
from transformer.nn.parameter_axes import AXES, parse_axes
from transformer.nn.parameters import find_axes
from transformer.nn.positions import POSITIONS, positions_of
from transformer.ops.scores import SCORES


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=5))
def test_positions_start_anew_with_each_segment(runs):
    runs = [run for i, run in enumerate(runs) if i == 0 or run[0] != runs[i - 1][0]]
    row = [segment for segment, size in runs for _ in range(size)]
    expected = [position for _, size in runs for position in range(size)]
    np.testing.assert_array_equal(positions_of(len(row), jnp.array([row, row])), [expected, expected])


def test_positions_of_one_segment_are_its_indices():
    np.testing.assert_array_equal(positions_of(4, None), [0, 1, 2, 3])


@pytest.mark.parametrize("text", AXES.values())
def test_every_letter_of_a_parameter_is_in_the_legend(text):
    axes = parse_axes(text)
    assert set(axes.letters) <= set(LEGEND)
    assert axes.kind == ("matrix" if "->" in text else "table" if "," in text else "vector")


def test_only_what_is_applied_is_a_matrix_whatever_its_number_of_axes():
    assert find_axes("output", "kernel").inputs == ("N", "H")
    assert find_axes("query", "bias").kind == "vector"
    assert find_axes("target_embedding", "table").kind == "table"
    assert find_axes("score", "matrix", SCORES["bilinear"].parameters).kind == "matrix"
    assert find_axes("score", "vector", SCORES["additive"].parameters).kind == "vector"
    assert find_axes("positions", "table", POSITIONS["learned"].parameters).kind == "table"


def test_a_parameter_without_a_row_is_an_error():
    with pytest.raises(UserError, match=r"mystery.kernel has no row"):
        find_axes("mystery", "kernel")


@pytest.mark.parametrize("site", SITES)
def test_every_site_has_a_name_for_one_layer_and_for_all(site):
    one, every = parse_name(f"decoder.3.{site}"), parse_name(f"decoder.*.{site}")
    assert (one.stack, one.layer, one.site, one.head) == ("decoder", 3, site, None)
    assert every.layer is None
    if site.rpartition(".")[2] in HEAD_AXIS:
        assert parse_name(f"decoder.3.{site}.5").head == 5
        assert parse_name(f"decoder.3.{site}.*").head is None


def test_every_site_of_dropout_has_a_key_of_its_own():
    dropout = Dropout(jnp.array(0.5), jax.random.key(0))
    keys = [dropout.fold_in(a).fold_in(b).key_at(c) for a in range(3) for b in range(3) for c in range(3)]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 27
    assert Dropout().fold_in(3).key_at(1) is None


def test_a_shape_that_does_not_fit_names_the_axis_in_words():
    with pytest.raises(UserError, match=r"key has another head width axis \(H\); got 5 in shape \(2, 5\); expected 7"):
        check_shape("key", jnp.ones((2, 5)), "B H", {"H": 7})
    with pytest.raises(UserError, match="key has 2 axes"):
        check_shape("key", jnp.ones((2, 5)), "B S H", {})
