"""The compiled update of each recipe, under the flags of a user's command, is that of its operations one by one.

See fixtures/one_update.py for what is compared, and relative to what.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import one_update
from tests.fixtures.tiny_recipes import NAMES

pytestmark = pytest.mark.more

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """The distances of all recipes, in one process without the suite's flags."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", one_update.__name__]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_update_is_the_plain_one_within_rounding(name, measured):
    far = {leaf: distance for leaf, distance in measured[name].items() if not distance < ROUNDING}
    assert not far, f"{name}: {far}"
    assert any(one_update.FIRST_MOMENT in leaf for leaf in measured[name])
    assert any(leaf.startswith("params.") for leaf in measured[name])
