"""The study of the rank of attention: distances, their fall, and that verdicts follow from numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import rank
from experiments.studies.frame.store import plain
from transformer.ops.attend import attend

SETTINGS = rank.RankSettings(seeds=(0, 1, 2, 3), depth=6, compared=5, length=7, width=12, heads=3)


@pytest.fixture(scope="module")
def numbers():
    return rank.measure(SETTINGS)


def test_the_distance_is_0_of_equal_rows_and_1_of_rows_without_a_mean():
    row = np.array([0.5, -2.0, 3.0])
    assert rank.distance(np.stack([row, row])) == 0.0
    assert rank.distance(np.stack([row, -row])) == 1.0
    assert rank.distance(np.stack([row, 3.0 * row])) == pytest.approx(np.sqrt(1.0 / 5.0))


def test_attention_is_that_of_the_library():
    draw = np.random.default_rng(5)
    x_TD, w_4DD = draw.standard_normal((7, 12)), draw.standard_normal((4, 12, 12)) * 12**-0.5
    query, key, value = (jnp.asarray((x_TD @ w).reshape(1, 7, 3, 4), jnp.float32) for w in w_4DD[:3])
    expected_TD = np.asarray(attend(query, key, value)).reshape(7, 12) @ w_4DD[3]
    np.testing.assert_allclose(rank.attention(x_TD, w_4DD, 3), expected_TD, atol=1e-5)


def test_equal_rows_stay_equal_through_attention():
    x_TD = np.broadcast_to(np.random.default_rng(1).standard_normal(12), (7, 12))
    w_4DD = np.random.default_rng(2).standard_normal((4, 12, 12))
    assert rank.distance(rank.attention(x_TD, w_4DD, 3)) < 1e-12


def test_a_norm_has_mean_0_and_variance_1():
    x_TD = rank.layer_norm(np.random.default_rng(3).standard_normal((5, 12)) * 4.0 + 2.0)
    np.testing.assert_allclose([x_TD.mean(axis=1), x_TD.var(axis=1)], [np.zeros(5), np.ones(5)], atol=1e-5)


def test_a_straight_fall_does_not_grow_and_a_double_exponential_one_does():
    depth = np.arange(6)
    assert rank.growth_of_fall(10.0**-depth) == pytest.approx(0.0, abs=1e-9)
    assert rank.growth_of_fall(10.0 ** -(depth**2 / 2.0)) == pytest.approx(1.0)
    assert rank.growth_of_fall(np.array([1.0, 1e-3, 1e-9, 1e-15, 1e-16, 1e-16])) == pytest.approx(3.0)
    assert np.isnan(rank.growth_of_fall(np.array([1.0, 1e-14, 1e-15])))


def test_attention_alone_loses_rank_and_residual_connections_keep_it(numbers):
    found = numbers["distance_LR"]
    assert np.all(found[rank.ALONE][5] < 1e-2 * found[rank.WITH_RESIDUAL][5])
    assert all(np.all(x_LR[0] == found[rank.ALONE][0]) for x_LR in found.values())


def rows(**per_layer):
    """Distances of 4 draws that fall by a factor of 10 to the power, by depth."""
    names = {"alone": rank.ALONE, "feed_forward": rank.WITH_FEED_FORWARD, "residual": rank.WITH_RESIDUAL}
    powers = {rank.WHOLE: np.zeros(5)} | {names[key]: np.asarray(x, float) for key, x in per_layer.items()}
    spread = np.array([1.0, 1.01, 0.99, 1.0])
    return {"distance_LR": {n: 10.0 ** -(powers[n][:, None] * spread) for n in rank.BLOCKS}, "compared": 4}


def test_words_follow_the_numbers():
    straight, bent, none = np.arange(5), np.arange(5) ** 2 / 2.0, np.zeros(5)
    fall, parts = rank.judge(rows(alone=bent, feed_forward=straight, residual=none))
    assert fall.words() == ["holds", "no difference", "no difference", "no difference"]
    assert parts.words() == ["holds", "holds", "holds"]
    assert parts.instead.en.startswith("Either one keeps the rank.")
    _, parts = rank.judge(rows(alone=bent, feed_forward=bent, residual=none))
    assert parts.words() == ["holds", "fails", "holds"]
    assert "a feed-forward alone does not" in parts.instead.en
    _, parts = rank.judge(rows(alone=none, feed_forward=none, residual=none))
    assert parts.words() == ["fails"] * 3
    assert parts.instead.en.startswith("Neither alone")


def test_distances_of_rounding_are_not_compared():
    deep = np.array([0.0, 3.0, 14.0, 15.0, 15.2])
    _, parts = rank.judge(rows(alone=deep, feed_forward=deep + 2.0, residual=np.zeros(5)))
    assert parts.cases[1].numbers["middle"] == 0.0


def test_claims_of_a_record_are_those_of_the_run(numbers):
    stored, own = rank.judge(plain(numbers)), rank.judge(numbers)
    assert [(claim.words(), claim.instead) for claim in stored] == [(claim.words(), claim.instead) for claim in own]


def test_the_figure_is_drawn_from_the_numbers(numbers):
    assert len(rank.draw(numbers).axes) == 2
