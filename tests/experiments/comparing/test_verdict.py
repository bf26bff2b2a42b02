"""Claims about `compare --against`: pairs, seeds that count, divergence, what differs, the words and the mistakes."""

import json
import math
from pathlib import Path

import pytest

from experiments import api
from experiments.compare import main
from experiments.comparing.decision import decide
from experiments.costs.summary import Costs, write_costs
from tests.fixtures.commands import error_of, fails
from tests.fixtures.compared_runs import DEFAULTS, succeed, table, write

pytestmark = pytest.mark.usefixtures("quick_and_here")

NOISE = (0.01, -0.02, 0.0, 0.03, -0.01, 0.02, -0.03, 0.01, 0.0)


def group(name: str, mean: float, seeds=range(4), *, metric="loss", **changes) -> list[str]:
    """Write runs of one setting; scores of one seed share what the seed adds."""
    return [
        write(f"{name}{seed}", scores={metric: mean + seed / 7 + NOISE[seed] * mean}, seed=seed, **changes)
        for seed in seeds
    ]


def diverge(name: str, step: int = 60) -> None:
    """Write the line of a divergence in place of what comes after a step."""
    path = Path(name) / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
    end = {"step": step, "split": "train", "loss": "nan", "gradient_norm": "inf", "seconds": 1.0}
    path.write_text("".join(f"{line}\n" for line in [*lines, json.dumps(end)]))


def words(capsys, ours, others, *flags: str) -> str:
    return succeed(capsys, *ours, "--against", *others, *flags)


def test_a_is_decided_against_b_seed_by_seed_with_the_interval_of_the_rule(capsys):
    ours, others = group("a", 1.0, model__norm="rms"), group("b", 2.0)
    out = words(capsys, ours, others, "--metric=loss", "--margin=0.1")
    values = [1.0 + noise for noise in NOISE[:4]]
    expected = decide(values, margin=0.1)
    line = f"mean +1.0050, 98.9 % interval +{expected.low:.4f} to +{expected.high:.4f}."
    assert f"Means over 4 seeds: A 1.2193, B 2.2243. Advantage of A, seed by seed: {line}" in out
    assert "\nholds: A is better than B: the whole interval lies above 0.\n" in out
    assert "A and B differ in one setting, model.norm: rms in A, layer in B." in out
    assert f"4 seeds show an effect of {expected.least_effect:.4f} or more with a power of 0.8." in out
    assert "The next look" not in out
    rows = table(out, "validation loss")
    assert rows[0] == ["seed", "A", "B", "advantage of A"]
    assert rows[1] == ["0", "1.0100", "2.0200", "+1.0100"]
    assert "reversed: A is worse than B" in words(capsys, others, ours, "--margin=0.1")


def test_a_metric_whose_higher_values_are_better_turns_the_words_round(capsys):
    names = {"metric": "accuracy", "training__output__best": "accuracy"}
    ours, others = group("a", 0.2, **names), group("b", 0.1, model__norm="rms", **names)
    out = words(capsys, ours, others, "--margin=0.01")
    assert "Question: is A better than B in validation accuracy (of tokens, higher is better)?" in out
    assert "\nholds: " in out


@pytest.mark.parametrize(
    ("kind", "margin", "mean", "line"),
    [
        ("better", "5", 2.0, "no difference: A and B differ by less than the margin"),
        ("as_good", "5", 2.0, "holds: A is at most worse by less than the margin"),
        ("as_good", "0.1", 2.0, "fails: A is worse than B by more than the margin"),
        ("equal", "5", 2.0, "holds: A and B differ by less than the margin"),
        ("equal", "0.1", 2.0, "fails: A and B differ by more than the margin"),
        ("better", "0.0001", 1.0, "undecided: the interval is too wide for a word."),
    ],
)
def test_each_kind_of_claim_has_its_words(kind, margin, mean, line, capsys):
    ours, others = group("a", mean, model__norm="rms"), group("b", 1.0)
    if mean == 1.0:
        ours = [write(f"c{s}", scores={"loss": 1.0 + s / 7 + 0.1 * (-1) ** s}, seed=s) for s in range(4)]
    assert f"\n{line}" in words(capsys, ours, others, f"--kind={kind}", f"--margin={margin}")


def test_seeds_between_two_looks_wait_and_the_seeds_needed_have_their_cost(capsys):
    ours = [write(f"a{s}", scores={"loss": 1.0 + 0.1 * (-1) ** s}, seed=s) for s in range(6)]
    others = [write(f"b{s}", scores={"loss": 1.05}, seed=s, model__norm="rms") for s in range(6)]
    for name in [*ours, *others]:
        path = Path(name) / "metrics.jsonl"
        path.write_text(path.read_text().replace('"seconds": 0.0', '"seconds": 30.0'))
        write_costs(Path(name), Costs(10, 1e6, lanes=2 if name in ours else 1))
    out = words(capsys, ours, others, "--margin=0.01")
    assert "Of seeds 0 to 5 the first 4 count; 2 more count at the look of 8." in out
    assert [row[-1] for row in table(out, "validation loss")] == ["counts", *["yes"] * 4, *["not yet"] * 2]
    assert "The next look is at 8 seeds: 2 more of each group, about 1 min 30 s here (15 s for a run of A, 30 s" in out
    needed = decide([0.05 - 0.1 * (-1) ** s for s in range(4)], margin=0.01).seeds_needed
    assert f"About {needed} seeds decide if the effect is as it was measured, more than the next look has." in out
    last = words(capsys, ours, others, "--margin=0.01", "--looks=4")
    assert "2 more do not count: this was the last look" in last
    assert "plan a longer row of looks for a new study" in last


def test_fewer_than_four_seeds_are_a_preview_without_a_verdict(capsys):
    out = words(capsys, group("a", 1.0, range(3), model__norm="rms"), group("b", 2.0), "--margin=0.1")
    assert "preview: too few seeds for a verdict: 3 pairs, and the first look is at 4." in out
    assert "Left out of B, since A has no run of that seed: b3." in out
    assert "interval" not in out
    one = words(capsys, ["a0"], ["b0"], "--margin=0.1")
    assert "preview: too few seeds for a verdict: 1 pair, and the first look is at 4." in one


def test_without_a_margin_there_is_an_interval_and_what_to_do_and_no_word(capsys):
    out = words(capsys, group("a", 1.0, model__norm="rms"), group("b", 2.0))
    assert "98.9 % interval +0.9" in out
    assert "not tested: no margin was given, so there is an interval and no word. Choose --margin" in out
    assert "holds" not in out


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_scores_at_an_end_of_the_range_show_no_difference_and_no_equality(end, capsys):
    names = {"training__output__best": "exact_match"}
    ours = [write(f"a{s}", scores={"exact_match": end}, seed=s, model__norm="rms", **names) for s in range(4)]
    others = [write(f"b{s}", scores={"exact_match": end}, seed=s, **names) for s in range(4)]
    out = words(capsys, ours, others, "--margin=0.02")
    assert (
        f"not tested: all scores are {end:g}, an end of the range of exact_match, so it can show no difference." in out
    )
    others[3] = write("c3", scores={"exact_match": 0.999}, seed=3, **names)
    assert "no difference: " in words(capsys, ours, others, "--margin=2")


def test_a_seed_that_diverged_counts_as_one_that_did_not_arrive(capsys):
    ours, others = group("a", 1.0, model__norm="rms"), group("b", 2.0)
    diverge("a1", step=5)  # before its first evaluation
    out = words(capsys, ours, others, "--margin=0.1")
    assert (
        "A diverged at seed 1, which counts as infinitely worse: 3 of 4 seeds arrived (a share of 0.19 to 0.99" in out
    )
    assert ["1", "diverged", "2.1029", "-inf"] in table(out, "validation loss")
    assert "undecided" in out
    assert "No affordable number of seeds decides while a seed that counts diverged." in out
    assert table(succeed(capsys, *ours, *others), "scores")[1][5] == "diverged at step 5"
    diverge("b1", step=5)
    assert ["1", "diverged", "diverged", "unknown"] in table(words(capsys, ours, others, "--margin=1"), "validation")


def test_seeds_count_up_to_the_first_that_has_not_ended(capsys):
    ours, others = group("a", 1.0, range(8), model__norm="rms"), group("b", 2.0, range(8))
    write("b5", step=1_500, scores={"loss": 9.0}, seed=5)
    Path("b5/metrics.jsonl").write_text(Path("b5/metrics.jsonl").read_text().replace('"step": 2000', '"step": 1500'))
    out = words(capsys, ours, others, "--margin=0.1")
    assert "b5 of B has not ended (step 1,500 of 2,000): seeds from 5 on do not count yet." in out
    assert "Means over 4 seeds" in out
    assert "5 runs, seeds 0 to 4" in out


def test_runs_of_other_seeds_are_no_pairs_and_compared_by_welch(capsys):
    ours, others = group("a", 1.0, range(4), model__norm="rms"), group("b", 2.0, range(4, 9))
    out = words(capsys, ours, others, "--margin=0.1")
    assert (
        "The runs are no pairs, since no seed is in both: the groups are compared as a whole (Welch's interval)" in out
    )
    assert "Of seeds 4 to 8 of B the first 4 count; 1 more count at the look of 8." in out
    assert "Advantage of A: mean +1.5" in out
    rows = table(out, "validation loss")
    assert rows[0] == ["seed of A", "A", "seed of B", "B", "counts"]
    assert rows[5][:2] == ["", ""]
    some = words(capsys, group("c", 1.0, range(4), model__norm="rms"), group("d", 2.0, range(3, 9)), "--margin=0.1")
    assert "since only 1 seed is in both" in some


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"data": "def"}, "read other data"), ({"data__seed": 3}, "read other data"), ({"data__seed": None}, None)],
)
def test_runs_of_other_data_are_no_pairs(changes, reason, capsys):
    out = words(capsys, group("a", 1.0, data="abc"), group("b", 2.0, **{"data": "abc", **changes}), "--margin=0.1")
    assert ("The runs are no pairs" in out) == (reason is not None)
    assert reason is None or f"since the runs of one seed {reason}" in out
    assert reason is not None or "A and B have the same settings: they differ in their seeds at most." in out


def test_several_settings_that_differ_are_listed_with_a_warning(capsys):
    out = words(capsys, group("a", 1.0, model__norm="rms", model__width=64), group("b", 2.0), "--margin=0.1")
    width = DEFAULTS["model"]["width"]
    assert "A and B differ in 2 settings, so a difference cannot be put down to one of them:\n" in out
    assert f"\n  model.width: 64 in A, {width} in B\n" in out


def test_own_settings_of_a_row_are_no_second_change_beside_it(capsys):
    kerple = {"model__position": "examples.position:kerple", "model__position_settings": {"scale": 2.0}}
    out = words(capsys, group("a", 1.0, **kerple), group("b", 2.0, model__position="alibi"), "--margin=0.1")
    assert "A and B differ in one setting, model.position: examples.position:kerple in A, alibi in B." in out
    scaled = [group(f"s{x}", 1.0, **{**kerple, "model__position_settings": {"scale": x}}) for x in (3.0, 4.0)]
    out = words(capsys, *scaled, "--margin=0.1")
    assert "A and B differ in one setting, model.position_settings.scale: 3.0 in A, 4.0 in B." in out


def curve(name, seed, values, **changes):
    """Write a run with an evaluation every 500 updates."""
    *earlier, (step, last) = [(500 * i, {"loss": value}) for i, value in enumerate(values, 1)]
    return write(name, earlier=earlier, step=step, scores=last, seed=seed, training__steps=step, **changes)


def test_at_an_equal_number_of_updates_each_curve_is_read_there_and_an_unfinished_schedule_is_named(capsys):
    ours = [curve(f"a{s}", s, [4.0, 3.0 + s / 10, 0.5, 0.1], optimizer__schedule="cosine") for s in range(4)]
    others = [curve(f"b{s}", s, [5.0, 2.0 + s / 10], optimizer__schedule="cosine") for s in range(4)]
    assert "\nholds" in words(capsys, ours, others, "--margin=0.1")
    out = words(capsys, ours, others, "--margin=0.1", "--at=updates")
    assert "Compared at an equal budget of 1,000 updates, where the shortest run ends (b0). " in out
    assert "by then: of A after 1,000 updates, of B after 1,000 updates." in out
    assert "Advantage of A, seed by seed: mean -1.0000" in out
    assert "\nreversed" in out
    line = "The learning rate of A (schedule cosine of 2,000 steps) had not come to its end there"
    assert line in out
    assert "of B (schedule" not in out
    for name in ours:
        config = json.loads((Path(name) / "config.json").read_text())
        config["config"]["optimizer"]["schedule"] = "constant"
        (Path(name) / "config.json").write_text(json.dumps(config))
    assert "had not come to its end" not in words(capsys, ours, others, "--margin=0.1", "--at=updates")


def test_operations_are_those_of_all_examples_and_seconds_are_shared_by_lanes(capsys):
    ours = [curve(f"a{s}", s, [4.0, 3.0 + s / 10, 0.5]) for s in range(4)]
    others = [curve(f"b{s}", s, [5.0, 2.0 + s / 10, 0.4], model__norm="rms") for s in range(4)]
    for name in ours:
        write_costs(Path(name), Costs(10, 2e6, lanes=3, examples=10.0))
        lines = [json.loads(line) for line in (Path(name) / "metrics.jsonl").read_text().splitlines()]
        text = "".join(json.dumps({**line, "seconds": line["step"] * 0.3}) + "\n" for line in lines)
        (Path(name) / "metrics.jsonl").write_text(text)
    for name in others:
        write_costs(Path(name), Costs(10, 1e6, examples=10.0))
        lines = [json.loads(line) for line in (Path(name) / "metrics.jsonl").read_text().splitlines()]
        text = "".join(json.dumps({**line, "seconds": line["step"] * 0.05}) + "\n" for line in lines)
        (Path(name) / "metrics.jsonl").write_text(text)
    out = words(capsys, ours, others, "--at=operations", "--margin=0.1")
    assert "an equal budget of 15.0 GFLOPs of matrix products" in out
    assert "of A after 500 updates, of B after 1,500 updates" in out
    seconds = words(capsys, ours, others, "--at=seconds", "--margin=0.1")
    assert "an equal budget of 1 min 15 s" in seconds
    assert "of A after 500 updates, of B after 1,500 updates" in seconds
    assert "they compare runs that trained alone" in seconds
    Path("a0/costs.json").unlink()
    error = fails(main, [*ours, "--against", *others, "--at=operations"], capsys)
    assert "the operations of a0 are not known: it has no costs.json. Take --at=updates" in error


def test_a_run_that_diverged_after_the_budget_had_arrived_there(capsys):
    ours = [curve(f"a{s}", s, [4.0, 3.0 + s / 10, 0.5]) for s in range(4)]
    others = [curve(f"b{s}", s, [5.0, 2.0 + s / 10], model__norm="rms") for s in range(4)]
    diverge("a2", 1_400)
    out = words(capsys, ours, others, "--at=updates", "--margin=0.1")
    assert "diverged" not in out
    diverge("a2", 999)
    assert "A diverged at seed 2" in words(capsys, ours, others, "--at=updates", "--margin=0.1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["a*", "--against=b*"],
            "b* does not exist; expected the working directory of a run or a sweep. The shell has",
        ),
        (["A", "--against"], "--against needs a value"),
        (["A", "--against", "a0"], "a0 is given twice"),
        (
            ["A", "--against", "B", "c0"],
            "the runs of B differ in more than their seed; got model.norm = layer: b0; model.norm = layer: b1",
        ),
        (["A", "--margin=0.1"], "--margin is not read without --against; got 0.1. Name the runs of A, then --against"),
        (["A", "--at=updates"], "--at is not read without --against"),
        (["A", "--against", "B", "--margin=0"], "--margin is out of range; got 0.0; expected a number above 0"),
        (["A", "--against", "B", "--metric=los"], "unknown metric of the validation split; got 'los'; expected one of"),
        (["A", "--against", "B", "--metric=los"], "Did you mean 'loss'?"),
        (["A", "--against", "B", "--metric=mine"], "it is not known whether a higher mine is better"),
        (
            ["A", "--against", "B", "--split=test"],
            "no run was evaluated on this split; got test; expected one of valid",
        ),
        (["A", "--against", "B", "--kind=best"], "unknown value of --kind; got 'best'"),
        (
            ["A", "--against", "B", "--looks=2,4"],
            "--looks is out of range; got (2, 4); expected rising numbers of seeds, each from 4",
        ),
        (["A", "--against", "B", "--at=update"], "unknown value of --at; got 'update'"),
        (["A", "--against", "B", "--at=updates", "--split=test"], "no run was evaluated on this split"),
        (["A", "--against", "late"], "has no evaluation within the budget; got the first at 2,500 updates"),
    ],
)
def test_a_mistake_is_one_line_that_names_what_to_do(flags, message, capsys):
    ours = [write(f"a{s}", scores={"loss": 1.0, "mine": 2.0}, seed=s) for s in range(4)]
    others = [write(f"b{s}", scores={"loss": 1.0, "mine": 2.0}, seed=s) for s in range(4)]
    write("c0", scores={"loss": 1.0}, seed=9, model__norm="rms")
    write("late", scores={"loss": 1.0}, seed=0, step=2_500, training__steps=2_500)
    named = [word for flag in flags for word in {"A": ours, "B": others, "a*": ours}.get(flag, [flag])]
    named += ["--at=updates"] if "late" in flags else []
    error = fails(main, named, capsys)
    assert message in error
    assert error.count("\n") == 1


def test_python_has_the_words_of_the_command(capsys):
    ours, others = group("a", 1.0, model__norm="rms"), group("b", 2.0)
    found = api.compare(ours, "loss", against=others).decide(margin=0.1)
    assert isinstance(found, api.Judgement)
    assert (found.word, found.decision.count) == ("holds", 4)
    assert all(line in words(capsys, ours, others, "--margin=0.1") for line in repr(found).splitlines())
    shown = found._repr_mimebundle_()["text/html"]
    assert shown.index("differ in one setting") < shown.index("<table") < shown.index("holds: A is better")
    undecided = api.compare(ours, against=others).decide()
    assert "Choose margin, the least difference" in repr(undecided)
    assert api.compare(ours, against=others).decide(5, kind="as_good", looks=[4], at="updates").word == "holds"
    assert "no runs of B; expected against=[...]" in error_of(api.compare(ours).decide, 0.1)
    assert "unknown kind of claim; got 'best'" in error_of(api.compare(ours, against=others).decide, 0.1, kind="best")
    assert "the margin does not fit" in error_of(api.compare(ours, against=others).decide, math.inf)
    assert "against is no list; got 'b0'" in error_of(api.compare, ours, against="b0")
