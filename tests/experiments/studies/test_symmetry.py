"""The study of one projection for queries and keys: what is symmetric, and that verdicts follow from numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import symmetry
from experiments.studies.frame.claim import Claim
from experiments.studies.frame.store import plain

TINY = symmetry.SymmetrySettings(length=5, width=7, head_width=4)


@pytest.fixture(scope="module")
def numbers():
    """Readings of two draws; operation by operation, so that nothing is compiled as a whole."""
    found = {}
    with jax.disable_jit():
        for projections in symmetry.PROJECTIONS:
            rows = [symmetry.readings(jax.random.key(seed), projections == "one", TINY) for seed in (3, 4)]
            found[projections] = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    return found


def words(claim: Claim) -> list[str]:
    return claim.words()


def test_scores_of_one_projection_are_symmetric_unless_a_matrix_lies_between(numbers):
    scores, weights, _ = symmetry.judge(numbers)
    assert words(scores) == ["holds exactly"] * 4 + ["fails, with a counterexample"]
    assert words(weights) == ["fails, with a counterexample"] * 2


def test_with_two_projections_nothing_is_symmetric(numbers):
    scores, _, _ = symmetry.judge({"one": numbers["two"], "two": numbers["two"]})
    assert words(scores) == ["fails, with a counterexample"] * 5
    assert "not the words that the mathematics gives" in scores.instead.en


def test_symmetry_without_a_control_that_differs_is_undecided(numbers):
    scores, _, _ = symmetry.judge({"one": numbers["one"], "two": numbers["one"]})
    assert words(scores)[:4] == ["undecided"] * 4


def test_the_asymmetry_is_the_largest_difference_across_the_diagonal():
    x_TT = jnp.array([[4.0, 1.0], [3.0, -8.0]])
    assert float(symmetry.asymmetry(x_TT)) == pytest.approx(2.0 / 8.0)


def test_the_largest_cosine_is_that_of_a_row_with_itself(numbers):
    assert np.all(numbers["one"]["own, cosine"] == 1.0)


def test_the_word_on_attending_to_oneself_follows_the_share(numbers):
    def own(share: float) -> list[str]:
        shares = {f"own, {name}": np.full(4, share) + np.array([0.0, 0.01, -0.01, 0.0]) for name in symmetry.CONTENT}
        return words(symmetry.judge_own({"one": shares, "two": shares}))

    assert own(0.95) == ["holds"] * 4
    assert own(0.5) == ["fails"] * 4
    assert words(symmetry.judge(numbers)[2]) == ["preview"] * 4  # of two draws


def test_claims_of_a_record_are_those_of_the_run(numbers):
    stored, own = symmetry.judge(plain(numbers)), symmetry.judge(numbers)
    assert [(claim.words(), claim.instead) for claim in stored] == [(claim.words(), claim.instead) for claim in own]


def test_the_figure_is_drawn_from_the_numbers(numbers):
    assert len(symmetry.draw(numbers).axes) == 2
