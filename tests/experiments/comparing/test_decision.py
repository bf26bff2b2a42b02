"""The decision rule: its error rates by simulation, its symmetries, and its values by independent formulas."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from experiments.comparing import decision
from experiments.comparing.decision import LOOKS, advantages, decide, decide_unpaired, levels
from tests.fixtures.commands import error_of

STUDIES = 20_000
NOISES = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "t3": lambda draw, shape: draw.standard_t(3, size=shape) / math.sqrt(3.0),
}
"""Noise of standard deviation 1."""

WORST = {"holds": "reversed", "reversed": "holds"}

values_of_seeds = st.lists(st.integers(-40, 40).map(lambda x: x / 8), min_size=4, max_size=17)


def words_at(values, look, level, margin):
    """Return the word "better" of each study at a look, from formulas of its own: an array of texts."""
    used = values[:, :look]
    half = -stats.t.isf((1 + level) / 2, look - 1) * used.std(1, ddof=1) / math.sqrt(look)
    low, high = used.mean(1) - half, used.mean(1) + half
    conditions = [(low > -margin) & (high < margin), low > 0, high < 0, high < margin]
    return np.select(conditions, ["no difference", "holds", "reversed", "fails"], "undecided")


def simulate(noise, truth, deviation, margin=1.0):
    """Return the share of each word of studies that stop at the first look with a word, and the mean of seeds."""
    values = truth + deviation * NOISES[noise](np.random.default_rng(7), (STUDIES, LOOKS[-1]))
    words, seeds = np.full(STUDIES, "undecided", dtype="U20"), np.full(STUDIES, LOOKS[-1])
    going = np.ones(STUDIES, bool)
    for look, level in zip(LOOKS, levels(), strict=True):
        words[going] = words_at(values, look, level, margin)[going]
        ended = going & ~np.isin(words, ["undecided", "fails"])
        seeds[ended], going = look, going & ~ended
    return {word: float((words == word).mean()) for word in decision.WORDS}, float(seeds.mean())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0, 8.0])
def test_holds_is_false_in_at_most_one_of_forty_studies_without_effect_at_any_look(noise, deviation):
    shares, _ = simulate(noise, 0.0, deviation)
    allowed = 0.025 + 3 * math.sqrt(0.025 * 0.975 / STUDIES)
    assert shares["holds"] <= allowed
    assert shares["reversed"] <= allowed
    values = deviation * NOISES[noise](np.random.default_rng(3), (STUDIES, LOOKS[-1]))
    ever = np.any([words_at(values, n, x, 1e-9) == "holds" for n, x in zip(LOOKS, levels(), strict=True)], axis=0)
    assert ever.mean() <= allowed, "at any look, whatever was read at those before"


def test_three_looks_at_95_percent_each_would_not_do():
    values = NOISES["normal"](np.random.default_rng(3), (STUDIES, LOOKS[-1]))
    assert np.any([words_at(values, n, 0.95, 1e-9) == "holds" for n in LOOKS], axis=0).mean() > 0.04


def test_effects_that_matter_are_found_and_equality_is_shown():
    """The shares that the rule was chosen by, of 40,000 studies each."""
    shares, seeds = simulate("normal", 2.0, 1.0)
    assert shares["holds"] > 0.99
    assert seeds == pytest.approx(7.0, abs=0.2)
    assert simulate("normal", -2.0, 1.0)[0]["reversed"] > 0.99
    assert simulate("normal", 1.0, 1.0)[0]["holds"] == pytest.approx(0.916, abs=0.01)
    assert simulate("normal", 2.0, 2.0)[0]["holds"] == pytest.approx(0.927, abs=0.01)
    shares, seeds = simulate("normal", 0.0, 0.5)
    assert shares["no difference"] > 0.99
    assert seeds == pytest.approx(7.7, abs=0.2)
    assert simulate("normal", 0.0, 2.0)[0]["undecided"] == pytest.approx(0.632, abs=0.02)


@pytest.mark.parametrize("noise", NOISES)
def test_the_words_that_are_simulated_are_those_of_the_rule(noise):
    draw, found = np.random.default_rng(5), set()
    for look, level in zip(LOOKS, levels(), strict=True):
        values = draw.uniform(-2, 2, size=(40, 1)) + 0.9 * NOISES[noise](draw, (40, look + 3))
        expected = words_at(values, look, level, 1.0)
        assert [decide(row, margin=1.0).word for row in values] == expected.tolist()
        found |= set(expected)
    assert found == {"holds", "reversed", "no difference", "fails", "undecided"}


def test_unpaired_runs_without_effect_have_few_false_words():
    """Groups of unequal deviations, for which Student's test of two groups is wrong."""
    draw, words = np.random.default_rng(11), []
    for _ in range(1000):
        ours, others = draw.normal(size=4), 5.0 * draw.normal(size=4)
        words.append(decide_unpaired(ours, others, mode="max", margin=1e-9).word)
    assert words.count("holds") / len(words) < 0.02  # 0.5 % are allowed at this look


@given(values_of_seeds, st.sampled_from([0.25, 1.0, 4.0]))
def test_the_other_side_of_a_comparison_has_the_opposite_word(values, margin):
    found, opposite = decide(values, margin=margin), decide([-x for x in values], margin=margin)
    assert (found.low, found.high) == pytest.approx((-opposite.high, -opposite.low), abs=1e-12)
    if found.word in WORST or found.word == "no difference":
        assert opposite.word == WORST.get(found.word, found.word)
    assert found.p == pytest.approx(opposite.p)


@given(values_of_seeds, st.sampled_from(sorted(decision.KINDS)), st.sampled_from([0.125, 8.0]))
def test_another_unit_changes_no_word(values, kind, scale):
    found = decide(values, margin=1.0, kind=kind)
    scaled = decide([scale * x for x in values], margin=scale, kind=kind)
    assert scaled.word == found.word
    assert scaled.low == pytest.approx(scale * found.low)


@given(values_of_seeds, st.integers(-8, 8))
def test_at_least_is_better_with_the_value_taken_off_but_for_the_margin(values, shift):
    reached = decide([x + shift for x in values], margin=float(shift) or 0.0, kind="at least")
    assert reached.low == pytest.approx(decide(values, margin=1.0).low + shift)
    assume(abs(reached.low - shift) > 1e-9)
    assert (reached.word == "holds") == (reached.low >= shift)


@given(values_of_seeds, st.floats(0.01, 2.0))
def test_as_good_is_better_by_the_margin_added_to_each_seed(values, margin):
    added = decide([x + margin for x in values], margin=1e-9, kind="better")
    assume(added.word != "no difference" and min(abs(added.low), abs(added.high)) > 1e-6)
    word = decide(values, margin=margin, kind="as good").word
    assert word == {"holds": "holds", "reversed": "fails"}.get(added.word, "undecided")


@given(values_of_seeds, st.integers(1, 5), st.sampled_from(["better", "as good", "equal"]), st.booleans())
def test_a_seed_that_diverged_never_helps_the_side_that_diverged(values, diverged, kind, superior):
    values = [abs(x) + 1.0 for x in values * 4][:16] if superior else values
    ours = [-math.inf if seed < diverged else x for seed, x in enumerate(values)]
    assert decide(ours, margin=1.0, kind=kind).word not in ("holds", "no difference")
    theirs = [-x for x in ours]
    assert decide(theirs, margin=1.0).word not in ("reversed", "no difference")
    both = [math.nan if math.isinf(x) else x for x in ours]
    assert decide(both, margin=1.0, kind=kind).word in ("undecided", "preview")


def test_a_seed_that_diverged_is_counted_and_many_decide_against_their_side():
    found = decide([-math.inf] * 9 + [0.5] * 7, margin=0.1)
    assert (found.diverged, found.count, found.middle, found.high) == (9, 16, -math.inf, 0.5)
    assert found.word == "undecided"
    assert decide([-math.inf] * 13 + [0.5] * 3, margin=0.1).word == "reversed"
    alone = decide([0.5] * 13 + [-math.inf] * 3, margin=0.1)
    assert (alone.low, alone.high, alone.middle) == (-math.inf, 0.5, 0.5)
    assert alone.seeds_needed is None


def test_advantages_are_by_the_direction_of_the_metric_and_infinite_where_one_diverged():
    ours, others = [1.0, 2.0, math.nan, 3.0, math.inf], [1.5, 1.0, 1.0, math.inf, math.nan]
    higher, lower = (advantages(ours, others, mode=mode) for mode in ("max", "min"))
    assert higher[:4] == [-0.5, 1.0, -math.inf, math.inf]
    assert lower[:4] == [0.5, -1.0, -math.inf, math.inf]
    assert math.isnan(higher[4])


def test_the_interval_is_students_worked_by_hand():
    """The values 1, 2, 3, 6 have mean 3 and s² 14/3; t(3) leaves 0.5664 % above it at the first look."""
    assert levels() == pytest.approx([1 - 0.05 * x / (2 + 2 * math.sqrt(2) + 4) for x in (2, 2 * math.sqrt(2), 4)])
    found = decide([1.0, 2.0, 3.0, 6.0], margin=0.5)
    tail = 0.05 * 2 / (6 + 2 * math.sqrt(2)) / 2
    t = 5.58639
    assert stats.t.sf(t, 3) == pytest.approx(tail, rel=1e-3)
    half = t * math.sqrt(14 / 3) / 2
    assert (found.middle, found.low, found.high) == pytest.approx((3.0, 3 - half, 3 + half), rel=1e-3)
    assert (found.word, found.next_look, found.count) == ("undecided", 8, 4)
    assert found.deviation == pytest.approx(statistics.stdev([1, 2, 3, 6]))
    student = stats.ttest_1samp([1, 2, 3, 6], 0).pvalue
    assert found.p == pytest.approx(student * 0.05 / (2 * tail))


def test_welchs_interval_is_that_of_scipy_and_of_lower_scores_the_other_way_round():
    draw = np.random.default_rng(2)
    ours, others = draw.normal(2.0, 0.1, size=9), draw.normal(1.0, 1.0, size=11)
    found = decide_unpaired(ours, others, mode="max", margin=0.01)
    expected = stats.ttest_ind(ours[:8], others[:8], equal_var=False).confidence_interval(levels()[1])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.deviation == pytest.approx(math.hypot(ours[:8].std(ddof=1), others[:8].std(ddof=1)))
    lower = decide_unpaired(ours, others, mode="min", margin=0.01)
    assert (lower.low, lower.high) == pytest.approx((-expected.high, -expected.low))
    assert decide_unpaired([math.nan, *ours[1:]], others, mode="max", margin=0.01).low == -math.inf
    assert decide_unpaired([1.0] * 4, [1.0] * 4, mode="max", margin=0.01).word == "no difference"


def test_the_greatest_look_that_is_reached_counts_and_further_seeds_wait():
    values = [1.0, 1.1, 0.9, 1.05, 50.0, -50.0, 3.0]
    found = decide(values, margin=0.1)
    assert found.values == tuple(values[:4])
    assert (found.word, found.next_look) == ("holds", 8)
    assert decide(values[:3], margin=0.1).word == "preview"
    assert decide(values[:3], margin=0.1).low is None
    assert decide([], margin=0.1).count == 0
    assert decide([1.0] * 16, margin=0.1).next_look is None
    assert decide(values, margin=0.1, looks=(5, 7)).count == 7


def test_least_effects_and_seeds_are_those_of_published_tables_of_power():
    """In standard deviations, two-sided at 5 %, power 0.8: as any program of power analysis has them."""
    table = {4: 2.13, 5: 1.68, 8: 1.16, 10: 1.00, 16: 0.75, 24: 0.60}
    for count, effect in table.items():
        assert decision.least_effect(1.0, count, 0.95) == pytest.approx(effect, abs=0.006)
        assert decision.seeds_for_effect(2.0, 2.0 * decision.least_effect(1.0, count, 0.95) * 1.0001, 0.95) == count
    assert decision.seeds_for_effect(1.0, 0.5, 0.95) == 34  # Cohen 1988, table 2.4.1
    assert decision.seeds_for_effect(1.0, 0.0, 0.95) is None
    assert decision.seeds_for_effect(math.nan, 1.0, 0.95) is None
    assert math.isnan(decision.least_effect(1.0, 1, 0.95))


@pytest.mark.parametrize(("count", "margin", "truth"), [(4, 4.0, 0.0), (8, 1.4, 0.0), (16, 1.0, 0.3)])
def test_the_power_of_equality_is_that_of_simulated_studies(count, margin, truth):
    values = truth + NOISES["normal"](np.random.default_rng(1), (STUDIES, count))
    shown = words_at(values, count, 0.985, margin) == "no difference"
    power = decision.power_of_equality(1.0, margin, count, 0.985, truth)
    assert 0.1 < power < 0.99
    assert power == pytest.approx(shown.mean(), abs=0.012)
    needed = decision.seeds_for_equality(1.0, margin, 0.985, truth)
    assert decision.power_of_equality(1.0, margin, needed, 0.985, truth) >= 0.8
    assert needed == 4 or decision.power_of_equality(1.0, margin, needed - 1, 0.985, truth) < 0.8


def test_without_a_spread_equality_is_sure_and_a_truth_beyond_the_margin_never_shown():
    assert decision.power_of_equality(0.0, 0.1, 4, 0.95) == 1.0
    assert decision.seeds_for_equality(1.0, 0.5, 0.95, truth=0.5) is None
    assert decide([0.5] * 4, margin=0.1).word == "holds"
    assert decide([0.0] * 4, margin=0.1).word == "no difference"


@pytest.mark.parametrize(("kind", "middle"), [("better", 0.3), ("as good", -0.2), ("equal", 0.1), ("at least", 0.9)])
def test_so_many_seeds_as_are_needed_would_decide_in_four_studies_of_five(kind, middle):
    pattern = np.array([1.0, -1.0, 0.5, -0.5]) * 0.3
    found = decide(middle + pattern, margin=0.5, kind=kind)
    assert found.word == "undecided"
    needed = found.seeds_needed
    draws = np.random.default_rng(4).normal(middle, found.deviation, size=(4000, needed))
    half = stats.t.ppf(0.5 + found.level / 2, needed - 1) * draws.std(1, ddof=1) / math.sqrt(needed)
    rule = decision.KINDS[kind].rule
    words = [rule(m - h, m + h, 0.5) for m, h in zip(draws.mean(1), half, strict=True)]
    assert np.mean([word not in ("undecided",) for word in words]) == pytest.approx(0.84, abs=0.1)


def test_clopper_pearson_is_the_quantile_of_the_beta_distribution():
    low, high = decision.share_interval(8, 8)
    assert (low, high) == pytest.approx((0.025 ** (1 / 8), 1.0))
    assert low >= 0.63
    low, high = decision.share_interval(13, 16)
    assert (low, high) == pytest.approx((stats.beta.ppf(0.025, 13, 4), stats.beta.ppf(0.975, 14, 3)))


def test_benjamini_and_hochberg_keep_what_their_procedure_keeps():
    """The example of their paper, table 1: four of fifteen are kept at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert decision.discoveries(p) == [True] * 4 + [False] * 11
    assert decision.discoveries(p[::-1]) == [False] * 11 + [True] * 4
    assert decision.discoveries([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "the margin does not fit; got 0; expected the least difference that matters"),
        ({"margin": -0.1}, "Choose it before the runs, in the unit of the metric"),
        ({"margin": math.nan}, "the margin does not fit; got nan"),
        ({"margin": 1.0, "looks": (3, 8)}, "the looks do not fit; got 3, 8; expected rising numbers of seeds, each 4"),
        ({"margin": 1.0, "looks": (8, 4)}, "the looks do not fit; got 8, 4"),
        ({"margin": 1.0, "looks": ()}, "the looks do not fit; got none"),
    ],
)
def test_a_margin_or_looks_that_do_not_fit_are_errors(options, message):
    assert message in error_of(decide, [1.0] * 4, **options)
