"""A run on a mesh of 8 devices has the losses of one device, and its checkpoints are read on any other mesh."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.parallel.config import AXES
from tests.fixtures.tiny_recipes import write_files

ROOT = Path(__file__).resolve().parents[2]
FEW = [{"data": 4, "fsdp": 2}, {"fsdp": 4, "tensor": 2}, {"tensor": 2, "sequence": 4}]
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


def check_losses(folder, architecture, meshes):
    one, *others = in_child(folder, [[architecture, mesh] for mesh in [{}, *meshes]])
    assert one["losses"][-1] < one["losses"][0]
    for mesh, found in zip(meshes, others, strict=True):
        np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-5, err_msg=str(mesh))
        assert found["share"] <= 1 / (mesh.get("fsdp", 1) * mesh.get("tensor", 1)) + MORE, mesh


MORE = 0.08
"""Share of the tiny state that every device has: norms, biases of heads, counts."""


@pytest.mark.parametrize("architecture", ["encoder_only", "decoder_only"])
def test_a_run_on_a_mesh_has_the_losses_of_one_device(tmp_path, architecture):
    check_losses(tmp_path, architecture, FEW)


@pytest.mark.more
@pytest.mark.parametrize("architecture", ["seq2seq", "decoder_only", "encoder_only", "rnn_seq2seq"])
def test_every_mesh_of_8_devices_has_the_losses_of_one(tmp_path, architecture):
    meshes = [mesh for mesh in EVERY if architecture != "rnn_seq2seq" or "sequence" not in mesh]
    assert len(meshes) == (10 if architecture == "rnn_seq2seq" else 20)
    check_losses(tmp_path, architecture, meshes)


@pytest.mark.more
def test_a_checkpoint_of_any_mesh_is_read_on_any_other_with_the_same_bits(tmp_path):
    meshes = [{}, {"data": 8}, {"fsdp": 8}, {"fsdp": 4, "tensor": 2}, {"tensor": 4, "sequence": 2}]
    assert in_child(tmp_path, [["seq2seq", mesh] for mesh in meshes], "checkpoints")
