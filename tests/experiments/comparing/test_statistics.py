"""Claims about means over seeds: the intervals cover the truth at their level, and no divergence is hidden."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.comparing.metric_units import bounds_of
from experiments.comparing.statistics import Estimate, as_text, estimate, interval, number, paired_difference

SHARE = bounds_of("exact_match", {})
STUDIES = 2_000
SEEDS = (3, 5, 10)
T_975 = {3: 4.302652729911275, 5: 2.7764451051977987, 10: 2.2621571627409915}
"""n -> the 97.5 % quantile of Student's t with n - 1 degrees of freedom, of any printed table."""

scores = st.floats(-1e6, 1e6)
samples = st.lists(scores, min_size=3, max_size=9)


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_cover_the_truth_at_their_level(seeds):
    values = 0.7 + 0.02 * np.random.default_rng(seeds).normal(size=(STUDIES, seeds))
    mean, half_width = interval(values)
    assert 0.93 <= np.mean(np.abs(mean - 0.7) <= half_width) <= 0.97


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_paired_differences_cover_the_truth_of_scores_with_a_common_part(seeds):
    rng = np.random.default_rng(seeds)
    shared = rng.normal(size=(STUDIES, seeds))
    first, second = (shared + 0.1 * rng.normal(size=(STUDIES, seeds)) for _ in range(2))
    second += 0.05
    mean, half_width = interval(second - first)
    assert 0.93 <= np.mean(np.abs(mean - 0.05) <= half_width) <= 0.97
    for study in range(0, STUDIES, 40):
        # The second group has its seeds in another order, and one of its own.
        there = {seeds: 9.0, **dict(reversed([*enumerate(second[study])]))}
        found = paired_difference(dict(enumerate(first[study])), there)
        assert (found.mean, found.half_width) == pytest.approx((mean[study], half_width[study]), rel=1e-9)


@pytest.mark.parametrize("seeds", T_975)
@given(data=st.data())
def test_an_interval_is_the_textbooks(seeds, data):
    values = data.draw(st.lists(scores, min_size=seeds, max_size=seeds))
    found = estimate(values)
    error = 1e-9 * max(map(abs, values)) + 1e-300
    assert found.count == seeds
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=error)
    expected = T_975[seeds] * statistics.stdev(values) / math.sqrt(seeds)
    assert found.half_width == pytest.approx(expected, rel=1e-9, abs=20 * error)


@given(samples, scores, st.floats(0.1, 10.0))
def test_an_interval_moves_and_grows_with_the_unit(values, shift, factor):
    one, other = estimate(values), estimate([factor * value + shift for value in values])
    error = 1e-7 * (max(map(abs, values)) + abs(shift) + 1.0)
    assert other.mean == pytest.approx(factor * one.mean + shift, abs=error)
    assert other.half_width == pytest.approx(factor * one.half_width, abs=20 * error)


@given(samples)
def test_a_higher_level_is_a_wider_interval_around_the_same_mean(values):
    low, high = estimate(values, 0.8), estimate(values, 0.99)
    assert low.mean == high.mean
    assert low.half_width < high.half_width or len(set(values)) == 1


@given(samples, st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), max_size=4), st.randoms())
def test_values_that_are_not_finite_are_counted_and_change_nothing(values, bad, random):
    mixed = [*values, *bad]
    random.shuffle(mixed)
    found, clean = estimate(mixed), estimate(values)
    assert found.diverged == len(bad)
    assert found.count == len(values)
    assert found.mean == pytest.approx(clean.mean, rel=1e-9, abs=1e-3)
    assert found.half_width == pytest.approx(clean.half_width, rel=1e-6, abs=1e-3)


@given(st.dictionaries(st.integers(0, 9), scores), st.dictionaries(st.integers(0, 9), scores))
def test_a_paired_difference_is_that_of_the_seeds_that_both_have_and_turns_round(first, second):
    both = sorted(set(first) & set(second))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there.count == back.count == len(both)
    if both:
        assert there.mean == pytest.approx(statistics.fmean(second[s] - first[s] for s in both), abs=1e-6)
        assert there.mean == pytest.approx(-back.mean, abs=1e-6)


def test_a_pair_is_diverged_where_either_score_is():
    first, second = {1: 0.5, 2: math.nan, 3: 0.4, 4: math.inf}, {1: 0.6, 2: 0.6, 3: math.inf, 4: math.inf}
    assert paired_difference(first, second) == Estimate(pytest.approx(0.1), None, (pytest.approx(0.1),), 3)


def test_fewer_than_three_values_have_no_interval():
    assert estimate([0.25]) == Estimate(0.25, None, (0.25,))
    assert estimate([0.25, 0.75]) == Estimate(0.5, None, (0.25, 0.75))
    assert estimate([0.25, 0.75]).excludes_zero is None
    nothing = estimate([math.nan])
    assert math.isnan(nothing.mean)
    assert (nothing.half_width, nothing.count, nothing.diverged) == (None, 0, 1)
    assert estimate([]).count == 0


def test_the_largest_perplexity_that_an_evaluation_can_have_is_averaged():
    found = estimate([math.exp(700.0), 2.0, 3.0])
    assert found.mean == pytest.approx(math.exp(700.0) / 3)
    assert math.isfinite(found.half_width)
    assert len(as_text(found)) < 50


@pytest.mark.parametrize(
    ("mean", "half_width", "expected"),
    [(0.3, 0.2, True), (-0.3, 0.2, True), (0.1, 0.2, False), (-0.1, 0.2, False), (0.2, 0.2, False), (0.3, None, None)],
)
def test_an_interval_excludes_zero_where_it_lies_on_one_side(mean, half_width, expected):
    assert Estimate(mean, half_width, (mean,) * 5, 0).excludes_zero is expected


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(0.93124, 0.00411, (0.93124,) * 5, 0), "0.9312 ± 0.0041 (5 seeds)"),
        (Estimate(0.93124, 0.00411, (0.93124,) * 5, 2), "0.9312 ± 0.0041 (5 seeds, 2 not finite)"),
        (Estimate(0.93124, None, (0.93124,), 0), "0.9312 (1 seed, no interval)"),
        (Estimate(0.93124, None, (0.93124,), 1), "0.9312 (1 seed, no interval, 1 not finite)"),
        (Estimate(math.nan, None, (), 3), "no finite value (3 seeds)"),
        (Estimate(math.nan, None, (), 0), "no finite value (0 seeds)"),
        (Estimate(0.5, 0.0, (0.5,) * 3, 0), "0.5000 ± 0.0000 (3 seeds)"),
        (Estimate(0.5, 0.0000123, (0.5,) * 3, 0), "0.500000 ± 0.000012 (3 seeds)"),
        (Estimate(1e304, 2e304, (1e304,) * 3, 0), "1.0000e+304 ± 2.0000e+304 (3 seeds)"),
    ],
)
def test_an_estimate_in_words(found, text):
    assert as_text(found) == text


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=9), st.lists(st.floats(0.0, 1.0), min_size=9, max_size=9))
def test_the_interval_of_a_share_lies_in_its_range_and_around_its_mean(values, others):
    found = estimate(values, bounds=SHARE)
    low, high = found.interval
    assert 0.0 <= low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= high <= 1.0
    free = estimate(values).interval
    assert (low, high) == (max(free[0], 0.0), min(free[1], 1.0))  # cut, so that it covers a share as often as before
    there = paired_difference(dict(enumerate(values)), dict(enumerate(others)), bounds=SHARE)
    assert all(-1.0 <= end <= 1.0 for end in there.interval)


def test_an_interval_that_is_cut_and_values_without_one_in_words():
    assert as_text(estimate([0.0, 0.0, 0.06], bounds=SHARE)) == "0.0200, from 0.0000 to 0.1061 (3 seeds)"
    assert as_text(estimate([0.4375, 0.55], bounds=SHARE)) == "0.4938 (2 seeds: 0.4375, 0.5500; no interval)"
    two = estimate([0.4375, 0.55, math.nan], bounds=SHARE)
    assert as_text(two) == "0.4938 (2 seeds: 0.4375, 0.5500; no interval, 1 not finite)"


def test_a_difference_in_words_has_its_sign():
    assert as_text(Estimate(0.0123, 0.004, (0.0123,) * 5, 0), signed=True) == "+0.0123 ± 0.0040 (5 seeds)"
    assert as_text(Estimate(-0.0123, 0.004, (-0.0123,) * 5, 0), signed=True) == "-0.0123 ± 0.0040 (5 seeds)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.2500"), (-1.5, "-1.5000"), (2e7, "2.0000e+07"), (math.nan, "nan"), (-math.inf, "-inf")],
)
def test_a_score_in_words(value, text):
    assert number(value) == text
