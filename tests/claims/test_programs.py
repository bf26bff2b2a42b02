"""The programs of tiny recipes: none becomes larger or more by accident, and the compiled update is that of its parts.

Counts are compared with those of golden/programs.json: a change that raises one on purpose makes the file anew, and its
diff is part of the commit. See fixtures/one_update.py for how a compiled update, under the flags of a user's command,
is compared with its operations one by one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.training.experiment import set_up
from tests.fixtures import one_update, programs
from tests.fixtures.programs import Counts, circumstances, lowered, programs_compiled
from tests.fixtures.tiny_recipes import NAMES, tiny_recipe, write_files
from tests.golden.files import FOLDER

ROOT = Path(__file__).parents[2]
STORED = json.loads((FOLDER / "programs.json").read_text(encoding="utf-8"))
COMMAND = "python -m tests.golden.make_programs"
TOLERANCE = 0.03
"""Share by which a count may rise."""

ROUNDING = 1e-5


def risen(name: str, part: str, found: Counts) -> str:
    """Describe the counts of a part of a recipe's programs that have risen, and what to do; "" where none has."""
    stored = STORED["recipes"].get(name, {}).get(part, {})
    lines = [
        f"{name}, {part}, {what}: {stored.get(what, 0):,} -> {count:,}"
        + (f" ({count / stored[what] - 1:+.1%})" if stored.get(what) else "")
        for what, count in found.items()
        if count > stored.get(what, 0) * (1 + TOLERANCE)
    ]
    return "\n".join([*lines, f"Where that is meant: {COMMAND}"]) if lines else ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_files(tmp_path_factory.mktemp("tiny"))


def test_every_recipe_is_counted():
    assert [*STORED["recipes"]] == [*NAMES]
    assert {part for counts in STORED["recipes"].values() for part in counts} == {*programs.PARTS}


def test_a_rise_is_described_by_recipe_count_and_command(monkeypatch):
    monkeypatch.setitem(STORED["recipes"], "dates", {"lowered": {"operations": 1000, "flops": 1000}})
    assert risen("dates", "lowered", {"operations": 1030, "flops": 10}) == ""
    assert risen("dates", "lowered", {"operations": 1040, "flops": 10}) == (
        f"dates, lowered, operations: 1,000 -> 1,040 (+4.0%)\nWhere that is meant: {COMMAND}"
    )
    assert risen("dates", "run", {"update": 1}).startswith("dates, run, update: 0 -> 1\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_update_has_no_more_operations_and_bytes_than_before(name, folder):
    assert not (rise := risen(name, "lowered", lowered(set_up(tiny_recipe(name, folder))))), rise


@pytest.fixture(scope="module")
def compiled_as_users_have_it(folder) -> dict[str, dict[str, dict[str, float]]]:
    """Counts of the compiled updates, and distances of their results, in a process without the suite's flags."""
    command = [sys.executable, "-m", one_update.__name__]
    subprocess.run([*command, "plain", str(folder)], cwd=ROOT, check=True)
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command += ["compiled", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


@pytest.mark.more
@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_update_has_no_more_instructions_and_bytes_than_before(name, compiled_as_users_have_it):
    if circumstances() != {key: STORED[key] for key in circumstances()}:
        pytest.skip(f"the stored counts are those of jaxlib {STORED['jaxlib']} on {STORED['machine']}: {COMMAND}")
    assert not (rise := risen(name, "compiled", compiled_as_users_have_it[name]["counts"])), rise


@pytest.mark.more
@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_update_is_the_plain_one_within_rounding(name, compiled_as_users_have_it):
    distances = compiled_as_users_have_it[name]["distances"]
    far = {leaf: distance for leaf, distance in distances.items() if not distance < ROUNDING}
    assert not far, f"{name}: {far}"
    assert any(one_update.FIRST_MOMENT in leaf for leaf in distances)
    assert any(leaf.startswith("params.") for leaf in distances)


@pytest.mark.more
@pytest.mark.parametrize("name", NAMES)
def test_a_training_compiles_each_program_once_for_a_shape_and_no_more_programs_than_before(name, folder):
    found = programs.run(name, folder)
    assert not (rise := risen(name, "run", found)), rise
    plan = set_up(tiny_recipe(name, folder)).task.plan
    assert found["update"] == len({plan.shape(step) for step in range(int(programs.RUN["training__steps"]))})
    assert found["initial_state"] == 1


def test_five_updates_of_one_shape_are_one_program(folder):
    experiment = set_up(tiny_recipe("source_code", folder))
    h, update = experiment.hyperparameters, experiment.update()
    state = jax.jit(experiment.initial_state)(h)
    with programs_compiled() as found:
        for step in range(5):
            state, _ = update(state, experiment.task.batches.at(step), h)
    assert found == {"update": 1}
    assert int(state.step) == 5
