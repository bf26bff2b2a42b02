"""Rotary positions under shifts, and the order of scores and weights: words follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import match, rotary
from experiments.studies.parts.identities import UNEXPECTED
from transformer.ops.positions import rotary as library_rotary

EXACT, COUNTER, UNDECIDED = "holds exactly", "fails, with a counterexample", "undecided"


@pytest.fixture(scope="module")
def shifted():
    return rotary.measure(rotary.RotarySettings(shifts=(1, 300), distances=5, width=6, seeds=(0, 1)))


def test_a_shift_of_both_positions_changes_no_rotary_score_in_float32(shifted):
    change = shifted["change_MR"]
    assert change[rotary.FLOAT].shape == (2, 2)
    assert change[rotary.FLOAT].max() < 1e-4
    assert change[rotary.ADDED].min() > 0.1
    assert 1e-4 < change[rotary.HALF].max() < 0.1
    assert change[rotary.HALF_ANGLES].max() > change[rotary.HALF].max()
    assert rotary.draw(shifted).axes


def test_rotated_rows_are_those_of_the_library_and_rounding_is_that_of_bfloat16():
    x_NH = jax.random.normal(jax.random.key(0), (3, 6))
    expected = library_rotary(x_NH[None, :, None], jnp.full((1, 3), 7))[0, :, 0]
    np.testing.assert_allclose(rotary.rotated(x_NH, jnp.array(7)), expected, rtol=1e-6)
    np.testing.assert_allclose(rotary.rotated_by_half_angles(x_NH, jnp.array(7)), expected, atol=0.1)
    assert np.array_equal(rotary.half(x_NH), x_NH.astype(jnp.bfloat16).astype(jnp.float32))


def rotary_numbers(full=1e-5, control=0.5, half=0.005, angles=(0.001, 0.5)):
    change = {rotary.FLOAT: (full, full), rotary.ADDED: (control, control)}
    change |= {rotary.HALF: (half, half), rotary.HALF_ANGLES: angles}
    return {"shifts": (1, 64), "change_MR": {name: np.outer(row, np.ones(2)) for name, row in change.items()}}


def test_rotary_words_follow_the_numbers():
    def found(**numbers):
        return [claim.words() for claim in rotary.judge(rotary_numbers(**numbers))]

    assert found() == [[EXACT], ["holds", COUNTER]]
    assert found(full=0.5)[0] == [COUNTER]
    assert found(full=0.01)[0] == found(control=0.0)[0] == [UNDECIDED]
    assert found(half=0.1)[1] == [COUNTER, COUNTER]
    assert found(angles=(0.001, 0.001))[1] == ["holds", "holds"]
    mixed = rotary_numbers()
    mixed["change_MR"][rotary.HALF_ANGLES][1, 0] = 0.001
    assert rotary.judge(mixed)[1].words()[1] == UNDECIDED
    claims = rotary.judge(rotary_numbers())
    assert "from a shift of 64 on" in claims[1].cases[1].measured.en
    assert "up to 0.0050 of a score" in claims[1].instead.en
    assert rotary.judge(rotary_numbers(angles=(0.001, 0.001)))[1].instead == UNEXPECTED


@pytest.fixture(scope="module")
def matched():
    return match.measure(match.MatchSettings(queries=3, keys=5, width=7, seeds=(0, 1)))


def test_weights_have_the_order_of_scores_within_a_query_and_not_between_queries(matched):
    assert np.all(matched["within_R"] == 0.0)
    assert np.all(matched["between_R"] > 0.0)
    assert [claim.words() for claim in match.judge(matched)] == [[EXACT, COUNTER]]
    assert match.draw(matched).axes


def test_inverted_pairs_are_those_whose_larger_score_has_the_smaller_weight():
    everywhere = jnp.ones((3, 3), bool)
    scores = jnp.array([1.0, 2.0, 3.0])
    assert float(match.inverted(scores, jnp.array([0.1, 0.2, 0.7]), everywhere)) == 0.0
    assert float(match.inverted(scores, jnp.array([0.1, 0.7, 0.2]), everywhere)) == pytest.approx(1 / 3)
    assert float(match.inverted(scores, jnp.array([0.1, 0.7, 0.2]), jnp.zeros((3, 3), bool))) == 0.0


def test_match_words_follow_the_numbers():
    def found(within, between):
        numbers = {"within_R": np.full(2, within), "between_R": np.full(2, between)}
        return match.judge(numbers)[0].words()

    assert found(0.0, 0.1) == [EXACT, COUNTER]
    assert found(0.2, 0.1) == [COUNTER, COUNTER]
    assert found(0.0, 0.0) == [UNDECIDED, UNDECIDED]
