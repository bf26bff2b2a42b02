"""The least memory of a run, of one device: on a mesh each has its part."""

import dataclasses

import pytest
from jax.sharding import AbstractMesh

from experiments.costs.needed import answers_memory, evaluation_memory, update_memory
from experiments.parallel.config import AXES
from experiments.parallel.placement import Placement
from experiments.training.experiment import set_up
from tests.fixtures.tiny_recipes import tiny_recipe, write_files


@pytest.mark.parametrize(
    "needed",
    [update_memory, evaluation_memory, lambda experiment: answers_memory(experiment, steps=12, texts=8)],
    ids=["update", "evaluation", "answers"],
)
def test_a_device_of_a_mesh_needs_its_part(needed, tmp_path):
    sizes = {"model__width": "32", "model__num_heads": "4", "model__feed_forward_width": "64", "data__num_buckets": "1"}
    one = set_up(tiny_recipe("dates", write_files(tmp_path), **sizes))
    mesh = AbstractMesh(tuple({"fsdp": 4}.get(axis, 1) for axis in AXES), AXES)
    divided = dataclasses.replace(one, placement=Placement(mesh, one.model, one.task.batches.at(0)))
    whole, part = needed(one), needed(divided)
    assert whole.keys() == part.keys()
    for name in whole:
        assert whole[name] / 4 <= part[name] <= whole[name] * (1 / 4 + 0.03), name
