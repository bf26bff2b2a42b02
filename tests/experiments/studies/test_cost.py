"""The study of the cost of attention: counts, plans of memory, and that verdicts follow from numbers."""

import numpy as np
import pytest

from experiments.costs.flops import operations
from experiments.studies import cost
from experiments.studies.frame.store import plain
from experiments.studies.parts import cost_claims as claims

LENGTHS = (4, 8, 20, 96, 192, 384)
"""Lengths n for a width of 4: up to 2 D, and from 24 D on."""


def numbers_of(quadratic=2.0, linear=1.0, timed=True, plain=2.0, chunks=1.0, share=1.0):
    n, rounds = np.array(LENGTHS, float), np.array([1.0, 1.01, 0.99, 1.0])
    parts = {claims.QUADRATIC: share * n**quadratic, claims.LINEAR: 24.0 * n**linear}
    form = {"plain": plain, "blocks": 2.0, "chunks": chunks}
    found = {
        "lengths": LENGTHS,
        "width": 4,
        "operations_n": parts,
        "bytes_n": {f: dict.fromkeys(cost.PASSES, 4.0 * n**power) for f, power in form.items()},
    }
    return found | ({"seconds_nR": {p: np.outer(x, rounds) for p, x in parts.items()}} if timed else {})


def test_the_counts_are_those_of_the_head_of_the_file():
    n, D = 5, 3
    counts = {name: operations(f, *cost.shapes_of(name, n, D)).total.products for name, f in cost.PARTS.items()}
    assert counts == {cost.QUADRATIC: 4 * n**2 * D, cost.LINEAR: 24 * n * D**2}


def test_words_on_the_power_follow_the_numbers():
    assert claims.judge(numbers_of())[0].words() == ["holds", "fails", "fails", "holds"] * 2
    assert claims.judge(numbers_of(quadratic=1.0))[0].words()[0] == "fails"
    assert claims.judge(numbers_of(share=1e3))[0].words()[2:4] == ["holds", "holds"]
    assert len(claims.judge(numbers_of(timed=False))[0].words()) == 4


def test_a_range_without_two_lengths_is_not_tested():
    numbers = numbers_of(timed=False)
    few = {**numbers, "width": 100}
    assert claims.judge(few)[0].words()[0] == "not tested"


def test_the_larger_part_and_the_crossing_follow_the_numbers():
    larger = claims.judge(numbers_of())[1]
    assert larger.words() == ["fails", "fails", "holds"] * 2
    assert "operations 6.00" in larger.instead.en
    assert "运算量 6.00" in larger.instead.zh
    assert "outside of the lengths" in claims.judge(numbers_of(share=1e-6))[1].instead.en


def test_words_on_the_bytes_follow_the_numbers():
    found = claims.judge(numbers_of())[2]
    assert found.words() == ["holds"] * 4 + ["fails"] * 2
    assert "“plain (forward pass)”" in found.instead.en
    assert claims.judge(numbers_of(plain=1.0))[2].words()[:2] == ["fails"] * 2


@pytest.mark.more
def test_chunks_need_less_memory_than_the_plain_form():
    peaks = {form: cost.peak(cost.alone(form), 1024, 4) for form in ("plain", "chunks")}
    assert peaks["chunks"] < 0.5 * peaks["plain"]


@pytest.mark.more
def test_the_measurement_has_the_numbers_that_are_judged():
    numbers = cost.measure(cost.CostSettings(lengths=(4, 8, 96, 192), width=4, rounds=2))
    assert [claim.number for claim in cost.judge(numbers)] == [1, 2, 3]
    assert numbers["seconds_nR"][cost.LINEAR].shape == (4, 2)
    assert cost.draw(numbers).axes


def test_claims_of_a_record_are_those_of_the_run():
    stored, own = claims.judge(plain(numbers_of())), claims.judge(numbers_of())
    assert [(claim.words(), claim.instead) for claim in stored] == [(claim.words(), claim.instead) for claim in own]


def test_the_figure_is_drawn_with_and_without_times():
    assert [len(cost.draw(numbers_of(timed=timed)).axes) for timed in (True, False)] == [4, 3]
