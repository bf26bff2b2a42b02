"""A run that trains with 64-bit types switched on is the run that it is without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import evaluate, train
from tests.processes.test_commands import COMMON, TINY, succeed

ARGUMENTS = [f"--config={TINY}", *COMMON, "--config.training.output.log_every=1"]


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.more
def test_a_run_with_64_bits_is_the_run_without(tmp_path, capsys):
    own, other = tmp_path / "64", tmp_path / "32"
    subprocess.run(
        [sys.executable, "-m", "experiments.train", f"--workdir={own}", *ARGUMENTS],
        env={**os.environ, "JAX_ENABLE_X64": "1"},
        check=True,
        capture_output=True,
    )
    succeed(train.main, [f"--workdir={other}", *ARGUMENTS], capsys)
    np.testing.assert_allclose(losses(own), losses(other), rtol=1e-4)
    succeed(evaluate.main, [f"--workdir={own}"], capsys)
