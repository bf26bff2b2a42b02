"""Laws fitted to draws or rounds, their words, and times in rounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.comparing.decision import AS_GOOD, AT_LEAST, BETTER, EQUAL, KINDS
from experiments.studies.frame.text import Text
from experiments.studies.parts import timing
from experiments.studies.parts.laws import (
    bounds,
    crossings,
    detailed,
    exponents,
    in_chinese,
    judged,
    rising,
    shown,
    slopes,
    within,
)

NAME = Text("a case", "一个情形")


@given(a=st.floats(-3.0, 3.0), c=st.floats(0.01, 100.0))
def test_the_exponent_of_a_power_is_found_for_each_draw(a, c):
    n = np.array([3.0, 5.0, 17.0, 40.0])
    found = exponents(n, np.stack([c * n**a, c * n ** (a + 1.0)], axis=1))
    np.testing.assert_allclose(found, (a, a + 1.0), atol=1e-9)


def test_the_slope_is_that_of_least_squares():
    x, y = np.array([1.0, 2.0, 5.0, 7.0]), np.array([0.3, -1.0, 4.0, 2.0])
    np.testing.assert_allclose(slopes(x, y), np.polyfit(x, y, 1)[0])
    assert np.isnan(slopes(x[:1], y[:1])).all()


def test_a_crossing_lies_where_the_powers_are_equal():
    n = np.array([2.0, 8.0, 32.0, 128.0])
    np.testing.assert_allclose(crossings(n, n**2, 20.0 * n), 20.0)
    assert crossings(n, n, n / 2.0) == 0.0
    assert crossings(n, n / 2.0, n) == np.inf


@pytest.mark.parametrize(
    ("values", "kind", "margin", "word"),
    [
        ((2.02, 1.98, 2.01, 1.99), EQUAL, 0.2, "holds"),
        ((2.5, 2.51, 2.49, 2.5), EQUAL, 0.2, "fails"),
        ((2.5, 1.5, 2.9, 1.1), EQUAL, 0.2, "undecided"),
        ((2.5, 2.6, 2.4), EQUAL, 0.2, "preview"),
        ((2.1,), EQUAL, 0.2, "holds"),
        ((2.3,), EQUAL, 0.2, "fails"),
        ((2.3,), AT_LEAST, 0.2, "holds"),
        ((1.5, 1.51, 1.49, 1.5), BETTER, 0.1, "reversed"),
        ((1.5, 1.51, 1.49, 1.5), AS_GOOD, 0.1, "fails"),
        ((np.nan,), EQUAL, 0.2, "not tested"),
    ],
)
def test_the_word_follows_the_interval_around_the_target(values, kind, margin, word):
    assert judged(NAME, values, kind=kind, margin=margin, target=2.0).word == word


def test_an_interval_is_shown_from_four_values_on_and_cut_to_a_share():
    assert shown([0.5]) == Text("0.500", "0.500")
    assert "95 % interval" in shown([0.5, 0.6, 0.4, 0.5]).en
    assert shown([0.9, 1.0, 1.0, 1.0], most=1.0).en.endswith("to 1.00)")
    assert bounds([3.0]) == (3.0, 3.0, 3.0)


def test_lengths_of_a_range_and_of_a_setting():
    assert within([3, 5, 9, 20], 5, 9) == [1, 2]
    assert rising(2)((2, 7)) is None
    assert rising(2)((7, 2)) is not None


def test_details_of_a_name_stand_in_brackets():
    assert detailed(NAME, NAME, Text("b", "乙")) == Text("a case (a case, b)", "一个情形（一个情形，乙）")


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_of_a_rule_stays_english(kind):
    rule = in_chinese(KINDS[kind].words.format(margin="0.1"))
    assert not [word for word in ("holds", "fails", "reversed", "else", "and", "or", "difference") if word in rule]


def test_every_round_times_each_program_once(monkeypatch):
    clock, calls = itertools.count(), []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    found = timing.seconds_in_rounds({name: lambda name=name: calls.append(name) for name in "abc"}, 5)
    assert {name: len(seconds) for name, seconds in found.items()} == dict.fromkeys("abc", 5)
    rounds = [calls[9:][i : i + 3] for i in range(0, 15, 3)]  # after one call that compiles and two that are counted
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1, "the order is never another"


def test_a_short_call_is_repeated_and_a_long_one_is_not(monkeypatch):
    seconds = iter([0.0, 0.001, 0.0, 0.001, 0.0, 9.0, 0.0, 9.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(seconds))
    assert timing.repeats_of(lambda: None) == 20
    assert timing.repeats_of(lambda: None) == 1
