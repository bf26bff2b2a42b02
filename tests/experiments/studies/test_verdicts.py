"""Words of trained claims: the rule, its looks and its gates, on lanes that no model has trained."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.frame.experiment import LOSS, Reading, flat
from experiments.studies.frame.lab import FLAT, Lab
from experiments.studies.frame.record import changed_since
from experiments.studies.frame.store import Store
from experiments.studies.frame.text import same
from experiments.studies.frame.verdicts import LONGER, judge_question
from tests.experiments.studies.fakes import RATES, UPDATES, add, contrast, facts, lab, question

LONG = LONGER * UPDATES


def near(value, count, spread=0.001):
    return [value + spread * (-1) ** i for i in range(count)]


def words(found, asked, max_seeds=16, long_seeds=4):
    return [case.word for case in judge_question(found, asked, max_seeds=max_seeds, long_seeds=long_seeds).cases]


def both(ours, others, count=4):
    return {
        "a": {UPDATES: near(ours, count), LONG: near(ours, 4)},
        "b": {UPDATES: near(others, count)[::-1], LONG: near(others, 4)[::-1]},
    }


@pytest.mark.parametrize(
    ("ours", "others", "word"), [(1.0, 2.0, "holds"), (2.0, 1.0, "reversed"), (1.5, 1.5, "no difference")]
)
def test_a_lower_loss_is_better_and_equal_words_at_both_budgets_are_one_case(tmp_path, ours, others, word):
    asked = question()
    assert words(lab(tmp_path / "x.jsonl", asked, both(ours, others)), asked) == [word]


def test_words_that_differ_between_budgets_have_a_case_each(tmp_path):
    asked, scores = question(), both(1.0, 2.0)
    scores["a"][LONG], scores["b"][LONG] = near(2.0, 4), near(1.0, 4)
    claim = judge_question(lab(tmp_path / "x.jsonl", asked, scores), asked, max_seeds=16, long_seeds=4)
    assert [(case.word, case.at.en) for case in claim.cases] == [
        ("holds", f"{UPDATES} updates"),
        ("reversed", f"{LONG} updates"),
    ]


def test_without_the_longer_training_nothing_is_decided(tmp_path):
    asked, scores = question(), both(1.0, 2.0)
    del scores["a"][LONG]
    claim = judge_question(lab(tmp_path / "x.jsonl", asked, scores), asked, max_seeds=16, long_seeds=4)
    assert [case.word for case in claim.cases] == ["not tested"]
    assert "holds so far, but not run with 40 updates" in claim.cases[0].reason.en


def test_what_was_not_run_is_not_tested(tmp_path):
    asked = question()
    assert words(lab(tmp_path / "x.jsonl", asked, {"a": {}, "b": {}}), asked) == ["not tested"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_than_four_seeds_are_a_preview(tmp_path, count):
    asked = question()
    assert words(lab(tmp_path / "x.jsonl", asked, both(1.0, 2.0)), asked, max_seeds=count) == ["preview"]


def test_seeds_are_added_at_the_looks_only_while_undecided(tmp_path):
    asked = question()
    noisy = {"a": {UPDATES: [1.0, 1.9, 1.1, 1.8, *[1.0] * 12]}, "b": {UPDATES: [1.5] * 16}}
    noisy["a"][LONG], noisy["b"][LONG] = [1.0] * 4, [1.5] * 4
    claim = judge_question(lab(tmp_path / "x.jsonl", asked, noisy), asked, max_seeds=16, long_seeds=4)
    assert len(claim.cases[0].numbers["values"]) == 16
    claim = judge_question(lab(tmp_path / "y.jsonl", asked, both(1.0, 2.0, 16)), asked, max_seeds=16, long_seeds=4)
    assert len(claim.cases[0].numbers["values"]) == 4


def test_a_reference_that_is_no_better_than_trivial_predictions_fails_its_gate(tmp_path):
    asked = question()
    known = {"a": facts("a"), "b": facts("b", baseline=1.9)}
    claim = judge_question(
        lab(tmp_path / "x.jsonl", asked, both(1.0, 2.0), known=known), asked, max_seeds=4, long_seeds=4
    )
    assert {case.word for case in claim.cases} == {"not tested"}
    assert "b is no better than chance: 2.00 against 1.90" in claim.cases[0].reason.en


def test_a_best_rate_at_the_end_of_its_grid_fails_its_gate(tmp_path):
    asked = question()
    rising = {1e-3: 2.0, 3e-3: 1.5, 1e-2: 1.2, 3e-2: 1.1, 1e-1: 1.0}
    claim = judge_question(
        lab(tmp_path / "x.jsonl", asked, both(1.0, 2.0), rates={"a": rising}), asked, max_seeds=4, long_seeds=4
    )
    assert "the best learning rate of a, 0.1, is at the end of its grid" in claim.cases[0].reason.en


def test_a_grid_grows_until_its_best_rate_lies_inside(tmp_path):
    asked = question()
    grown = {**dict(zip(RATES, (3.0, 2.0, 1.5), strict=True)), 3e-2: 1.2, 1e-1: 1.4}
    found = lab(tmp_path / "x.jsonl", asked, {"a": {}, "b": {}}, rates={"a": grown})
    assert found.rate("a")[:2] == (3e-2, True)
    even = {1e-3: 2.0, 3e-3: 1.0 + FLAT / 2, 1e-2: 1.0}
    found = lab(tmp_path / "y.jsonl", asked, {"a": {}, "b": {}}, rates={"a": even})
    assert found.rate("a")[:2] == (3e-3, True)


def test_a_rate_at_which_a_seed_diverged_is_never_the_best(tmp_path):
    asked = question()
    found = lab(tmp_path / "x.jsonl", asked, {"a": {}, "b": {}}, rates={"a": {1e-3: 2.0, 3e-3: 1.0, 1e-2: np.nan}})
    assert found.rate("a").value == 3e-3
    assert found.rate("a").losses[1e-2] == np.inf


def test_an_arm_that_changes_something_else_fails_its_gate(tmp_path):
    asked = question()
    known = {"a": facts("a", **{"model.embedding.scale": True}), "b": facts("b", **{"model.embedding.scale": False})}
    claim = judge_question(
        lab(tmp_path / "x.jsonl", asked, both(1.0, 2.0), known=known), asked, max_seeds=4, long_seeds=4
    )
    assert "a and b also differ in model.embedding.scale" in claim.cases[0].reason.en
    named = question(contrast(changes=("model.position", "model.embedding")))
    assert words(lab(tmp_path / "y.jsonl", named, both(1.0, 2.0), known=known), named) == ["holds"]


def test_a_seed_that_diverged_counts_and_is_never_left_out(tmp_path):
    asked = question()
    scores = both(1.0, 2.0, 8)
    scores["a"][UPDATES][3] = np.nan
    claim = judge_question(lab(tmp_path / "x.jsonl", asked, scores), asked, max_seeds=8, long_seeds=4)
    assert claim.cases[0].word == "undecided"
    assert "1 diverged" in claim.cases[0].measured.en


def test_held_out_items_that_leave_it_open_make_it_undecided(tmp_path):
    asked, scores = question(), both(1.0, 1.2)
    found = lab(tmp_path / "x.jsonl", asked, {"a": {}, "b": {}})
    for arm, by_updates in scores.items():
        for updates, values in by_updates.items():
            for seed, value in enumerate(values):
                add(found, arm, updates, 3e-3, seed, value)
    assert words(found, asked) == ["holds"]
    one_item = Store(tmp_path / "y.jsonl")
    for line in found.store.lanes.values():
        sums = line["test"].get(LOSS)
        if sums and line["arm"] == "a":
            # All of the advantage is in one item of sixteen.
            total = sum(sums[0]) - 15 * 1.2
            line = {**line, "test": {LOSS: [[total, *[1.2] * 15], sums[1]]}}
        one_item.add(line)
    claim = judge_question(Lab(found.experiment, one_item, facts=found.facts), asked, max_seeds=4, long_seeds=4)
    assert claim.cases[0].word == "undecided"
    assert "the held-out items leave it open" in claim.cases[0].reason.en


def test_a_difference_of_differences_adds_its_pairs(tmp_path):
    asked = question(contrast(ours=("a", "c"), others=("b", "d")))
    scores = {**both(1.0, 2.0), "c": {UPDATES: [2.0] * 4, LONG: [2.0] * 4}, "d": {UPDATES: [1.0] * 4, LONG: [1.0] * 4}}
    claim = judge_question(lab(tmp_path / "x.jsonl", asked, scores), asked, max_seeds=4, long_seeds=4)
    assert claim.cases[0].word == "no difference"


def test_a_reading_decides_in_place_of_a_score(tmp_path):
    reading = Reading(lambda lane: lane["seed"] + 1.0, same("reading"))
    asked = question(contrast(others=()), margin=0.5, kind="at least", reading=reading)
    claim = judge_question(
        lab(tmp_path / "x.jsonl", asked, {"a": both(1.0, 2.0)["a"]}), asked, max_seeds=4, long_seeds=4
    )
    assert claim.cases[0].numbers["values"] == [1.0, 2.0, 3.0, 4.0]


def test_a_margin_that_is_changed_after_the_run_is_named(tmp_path):
    before, after = question(margin=0.1), question(margin=0.5)
    found = lab(tmp_path / "x.jsonl", before, both(1.0, 2.0))
    found.train = True
    judge_question(found, before, max_seeds=4, long_seeds=4)
    assert changed_since(1, found) == []
    later = lab(tmp_path / "x.jsonl", after, {"a": {}, "b": {}})
    assert changed_since(1, later) == ["margin: 0.1 -> 0.5"]


def test_a_store_reads_what_it_wrote_and_leaves_out_a_line_that_was_cut(tmp_path):
    store = Store(tmp_path / "x.jsonl")
    store.add({"lane": "1", "seed": 1})
    store.add({"lane": "2", "seed": 2})
    with store.path.open("a") as file:
        file.write('{"lane": "3", "se')
    again = Store(store.path)
    assert set(again.lanes) == {"1", "2"}
    again.add({"lane": "4"})
    assert set(Store(store.path).lanes) == {"1", "2", "4"}
    assert json.loads(store.path.read_text().splitlines()[-1]) == {"lane": "4"}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4))
def test_exchanging_the_arms_exchanges_holds_and_reversed(tmp_path_factory, advantage):
    folder = tmp_path_factory.mktemp("lanes")
    scores = {"a": {UPDATES: [2.0 - x for x in advantage]}, "b": {UPDATES: [2.0] * 4}}
    for row in scores.values():
        row[LONG] = row[UPDATES]
    swapped = {"a": scores["b"], "b": scores["a"]}
    asked = question()
    (first, *_), (second, *_) = (
        words(lab(folder / f"{i}.jsonl", asked, x), asked, 4) for i, x in enumerate((scores, swapped))
    )
    turned = {"holds": "reversed", "reversed": "holds"}
    if first in ("fails", "undecided"):
        assert second in ("fails", "undecided")
    else:
        assert second == turned.get(first, first)


def test_nested_settings_are_flat_by_their_dotted_names():
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
