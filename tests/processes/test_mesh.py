"""A run on a mesh of 8 devices has the losses of one device, and its checkpoints are read on any other mesh."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.costs.memory import bytes_of
from experiments.costs.mesh_plan import plan_of_mesh
from experiments.parallel.config import AXES, MeshConfig
from experiments.storage.metrics import read
from experiments.training.experiment import set_up
from tests.fixtures.processes import ON_DEVICES
from tests.fixtures.tiny_recipes import tiny_recipe, write_files
from transformer.errors import UserError
from transformer.named_code import import_modules

ROOT = Path(__file__).resolve().parents[2]
FEW = [{"data": 4, "fsdp": 2}, {"fsdp": 4, "tensor": 2}, {"tensor": 2, "sequence": 4}]
PIECES = 1100
"""Logits that a device holds at once, where the loss is computed in pieces."""
EVERY = [
    {axis: size for axis, size in zip(AXES, sizes, strict=True) if size > 1}
    for sizes in itertools.product((1, 2, 4, 8), repeat=4)
    if np.prod(sizes) == 8
]


def in_child(folder, runs, *words):
    write_files(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.fixtures.mesh_runs", str(folder), json.dumps(runs), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check_losses(one, others, architecture, meshes):
    assert np.mean(one["losses"][-5:]) < np.mean(one["losses"][:5])
    for mesh, found in zip(meshes, others, strict=True):
        np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5, err_msg=str(mesh))
        divided = mesh.get("fsdp", 1) * (1 if architecture == "rnn_seq2seq" else mesh.get("tensor", 1))
        assert found["share"] <= 1 / divided + MORE, mesh


MORE = 0.08
"""Share of the tiny state that every device has: norms, biases of heads, counts. Cells have no heads to divide."""

FEW_ARCHITECTURES = ("encoder_only", "decoder_only")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Architecture -> the runs on one device, on each mesh of FEW, and on the last one with the loss in pieces."""
    runs = [[], *([mesh] for mesh in FEW), [FEW[-1], PIECES]]
    every = [[architecture, *(run or [{}])] for architecture in FEW_ARCHITECTURES for run in runs]
    found = iter(in_child(tmp_path_factory.mktemp("few"), every))
    return {architecture: list(itertools.islice(found, len(runs))) for architecture in FEW_ARCHITECTURES}


@pytest.mark.parametrize("architecture", FEW_ARCHITECTURES)
def test_a_run_on_a_mesh_has_the_losses_of_one_device(few, architecture):
    one, *others = few[architecture]
    check_losses(one, others, architecture, [*FEW, FEW[-1]])
    assert others[-1]["losses"] != others[-2]["losses"]  # another order of sums


@pytest.mark.more
@pytest.mark.parametrize("architecture", ["seq2seq", "decoder_only", "encoder_only", "rnn_seq2seq"])
def test_every_mesh_of_8_devices_has_the_losses_of_one(tmp_path, architecture):
    meshes = [mesh for mesh in EVERY if architecture != "rnn_seq2seq" or "sequence" not in mesh]
    assert len(meshes) == (10 if architecture == "rnn_seq2seq" else 20)
    one, *others = in_child(tmp_path, [[architecture, mesh] for mesh in [{}, *meshes]], "from one")
    check_losses(one, others, architecture, meshes)


@pytest.mark.more
@pytest.mark.parametrize("task", ["classifier", "language model"])
def test_other_tasks_have_the_losses_of_one_device_on_a_mesh(tmp_path, task):
    one, *others = in_child(tmp_path, [[task, mesh] for mesh in [{}, *FEW]], "from one")
    check_losses(one, others, task, FEW)


@pytest.mark.more
def test_a_checkpoint_of_any_mesh_is_read_on_any_other_with_the_same_bits(tmp_path):
    meshes = [{}, {"data": 8}, {"fsdp": 8}, {"fsdp": 4, "tensor": 2}, {"tensor": 4, "sequence": 2}]
    assert in_child(tmp_path, [["seq2seq", mesh] for mesh in meshes], "checkpoints")


TRAIN = ["--config=dates", *(f"--{name}={value}" for name, value in ON_DEVICES.items())]


def trained(workdir, devices, *flags):
    flag = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}"}
    command = [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *TRAIN, *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def training_losses(workdir):
    return [row["loss"] for row in read(workdir) if row["split"] == "train"]


@pytest.mark.more
def test_a_run_of_a_mesh_is_continued_by_one_device(tmp_path):
    one, moved = tmp_path / "one", tmp_path / "moved"
    trained(one, 1, "--config.training.steps=8")
    printed = trained(moved, 4, "--config.training.steps=4", "--config.mesh.fsdp=2", "--config.mesh.tensor=-1")
    assert "4 x cpu (cpu), a mesh of fsdp 2 x tensor 2" in printed
    assert "Continuing from step 4 of 8" in trained(moved, 1, "--config.training.steps=8")
    np.testing.assert_allclose(training_losses(moved), training_losses(one), rtol=1e-5)


@pytest.mark.more
def test_a_plan_for_devices_that_are_not_there_has_the_bytes_of_a_run(tmp_path):
    sizes = {"model__width": "64", "model__num_heads": "8", "model__vocab_size": "800", "data__num_buckets": "1"}
    config = tiny_recipe(
        "dates", tmp_path, training__batch_size="16", mesh__fsdp="16", optimizer__name="adamw", **sizes
    )
    planned = plan_of_mesh(config)
    total = bytes_of(set_up(config).state_shapes)
    assert total / 16 <= sum(planned["parts"].values()) <= total / 16 + 0.02 * total
    assert sum(planned["parts"].values()) <= planned["memory"]["arguments"] <= 1.05 * sum(planned["parts"].values())
    assert planned["collectives"]["all-gather"][1] > 0
    assert "collective-permute" not in planned["collectives"]  # the norm of the gradient sends no pieces about
    with pytest.raises(UserError, match=r"mesh.fsdp does not divide model.width"):
        plan_of_mesh(dataclasses.replace(config, mesh=MeshConfig(fsdp=48)))


@pytest.mark.more
def test_a_plan_for_devices_that_are_not_there_takes_rows_of_an_imported_module(tmp_path):
    import_modules(["examples.position"])  # as --import does
    sizes = {"model__position": "kerple", "model__width": "16", "model__num_heads": "4", "data__num_buckets": "1"}
    config = tiny_recipe("text_to_text", write_files(tmp_path), mesh__data="2", **sizes)
    assert plan_of_mesh(config)["parts"]["parameters"] > 0
