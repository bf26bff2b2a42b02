"""Every example runs where nothing but the installed package is, and is as short as it says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.test_wheel import unpacked, wheel  # noqa: F401

pytestmark = pytest.mark.more

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
LONG = ("architecture", "mixer", "task", "tokenizer")

RUN = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
for path in sys.argv[2:]:
    print(path, flush=True)
    runpy.run_path(path, run_name="__main__")
"""


def test_every_example_runs_against_the_installed_package(unpacked, tmp_path):  # noqa: F811
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(unpacked), *map(str, EXAMPLES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(EXAMPLES) >= 18


def test_examples_are_short():
    lines = {path.stem: sum(map(bool, path.read_text().splitlines())) for path in EXAMPLES}
    assert not {name: count for name, count in lines.items() if count > (60 if name in LONG else 15)}
