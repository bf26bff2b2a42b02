"""A sweep of a recipe: what its points train, and the lines about what it leaves out."""

from pathlib import Path

import pytest

from experiments import plan, sweep
from experiments.settings import load_recipe
from experiments.sweeping import search
from experiments.sweeping.grammar import make_space
from transformer.errors import UserError

DATES = str(Path(__file__).parents[3] / "configs" / "dates.py")


def sweep_of(varied, trials=None, sampler=None):
    return search.make_sweep(load_recipe(DATES), [], varied, data="shared", sampler=sampler, trials=trials)


def test_the_example_of_the_help_varies_the_depth_of_both_stacks_and_notes_what_it_leaves_out():
    sweep = sweep_of({"model.num_layers": "2,4"})
    models = [sweep.resolve(sweep.search.space.settings_of(point), 0).model.resolved() for point in sweep.search.points]
    assert [(model.num_encoder_layers, model.num_decoder_layers) for model in models] == [(2, 2), (4, 4)]
    assert sweep.notes == tuple(
        f"model.num_{stack}_layers = 2 of the recipe is left out: model.num_layers is given in its place."
        for stack in ("encoder", "decoder")
    )
    assert sweep_of({"model.width": "64,128"}).notes == ()


def test_more_trials_than_a_space_has_are_noted():
    sweep = sweep_of({"model.width": "64,128"}, trials=9)
    assert len(sweep.search.points) == 2
    assert sweep.notes == ("--trials=9 is more than the space has: its 2 combinations are all trained.",)


def test_a_space_too_large_to_be_tried_in_full_needs_trials():
    large = make_space({"training.steps": range(1, 1001), "model.width": range(1, 1001)})
    with pytest.raises(UserError, match="--trials must be given: the space has up to 1,000,000 combinations"):
        search._points(large, None, None)
    with pytest.raises(UserError, match="a space with up to 1,000,000 combinations has no grid"):
        search._points(large, "grid", None)
    assert search._points(large, None, 3) == ("tpe", [{}] * 3)


@pytest.mark.parametrize("flags", [[], ["--workers=2"]])
def test_a_sweep_in_the_directory_of_a_run_is_refused_and_leaves_it_as_it_is(flags, tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"config": {}}')
    with pytest.raises(UserError, match=rf"--workdir {tmp_path} holds a run; .*Choose another --workdir\."):
        sweep.main([f"--config={DATES}", f"--workdir={tmp_path}", "--sweep.model.width=8,16", *flags])
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.parametrize("flag", ["--trials=3", "--lanes=3"])
def test_a_plan_without_a_sweep_refuses_what_only_a_sweep_reads(flag):
    with pytest.raises(UserError, match=f"{flag[:-2]} is not read without a sweep; got 3"):
        plan.main([f"--config={DATES}", flag])
