"""Claims about the plan of a run, and about the memory that the run uses."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from experiments import plan
from experiments.costs.memory import Memory, available, bytes_of, memory_of
from experiments.costs.needed import numbers_of_layer
from experiments.costs.plan import fit
from experiments.costs.time import TimeEstimate, mean_over_shapes
from tests.fixtures.commands import outcome
from tests.processes.test_commands import TINY
from transformer.models.config import model_config

FLAGS = [f"--config={TINY}", "--config.training.accumulation=1", "--config.model.architecture=encoder_only"]


def test_a_plan_prints_sizes_operations_memory_and_time_and_writes_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    flags = [*FLAGS, "--config.model.dropout=none", "--config.training.steps=124", "--config.data.num_buckets=1"]
    table = tmp_path.parent / "plan.csv"
    code, out, error = outcome(plan.main, [*flags, "--probe_steps=2", f"--output={table}"], capsys)
    assert code == 0, error
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    table.unlink()
    parameters = sum(float(row["value"]) for row in rows if row["quantity"] == "parameters")
    assert f"{parameters:,.0f} parameters" in out
    assert [float(row["value"]) for row in rows if row["quantity"] == "steps"] == [124]
    assert "124 steps, 2 epochs of 62 steps" in out
    assert "programs that compile: 1 of the start, 1 of the update" in out
    for part in ("encoder, self-attention", "embedding", "optimizer", "peak", "fits: "):
        assert part in out
    assert re.search(r"about \d.* = \d+\.\d s until .* \+ 124 steps x \d+\.\d ms \(mean of 2\)", out), out
    assert not list(tmp_path.iterdir())


def test_a_mistake_gets_one_line(capsys):
    code, _, error = outcome(plan.main, [*FLAGS, "--probe_steps=-1"], capsys)
    assert code == 2
    assert error.count("\n") == 1
    assert "probe_steps" in error


def test_donated_arguments_are_not_counted_twice():
    x = jnp.zeros((1000, 257))

    def step(x, y):
        return x + jnp.sum(y), y[:5]

    plain = memory_of(jax.jit(step).lower(x, x).compile())
    donated = memory_of(jax.jit(step, donate_argnums=0).lower(x, x).compile())
    assert plain.aliased == 0
    assert donated.aliased == bytes_of(x) == 4 * x.size
    assert (plain.peak - plain.temporary) - (donated.peak - donated.temporary) == bytes_of(x)


def test_a_layer_without_weights_needs_no_memory_for_them():
    def layer(**settings):
        settings = {"architecture": "decoder_only", "num_heads": 4, "num_kv_heads": 2, "head_width": 3, **settings}
        return numbers_of_layer(model_config({"width": 12, **settings}), length)

    length = 10
    assert layer(feed_forward_width=5) == (2 * 10 * 3 * (4 + 2) + 4 * 10**2, 50)
    assert layer(mixer="linear") == (2 * 10 * 3 * (4 + 2), 480)
    assert layer(kernels="fast") == layer()  # which keeps the weights while they are few
    assert layer(kernels="chunks") == layer(mixer="linear")
    length = 2**13 + 1
    assert layer(kernels="fast") == layer(mixer="linear")
    assert layer(kernels="blocks") == layer()
    assert layer()[0] == layer(mixer="linear")[0] + 4 * length**2
    own = {"architecture": "decoder_only", "width": 12, "mixer": "examples.mixer:recurrence"}
    assert numbers_of_layer(model_config(own), 10) == (0, 480)


def test_memory_of_a_tree_counts_every_type_and_no_none():
    assert bytes_of({"a": jnp.zeros((3, 5), jnp.bfloat16), "b": [None, jnp.zeros(7)]}) == 2 * 15 + 4 * 7


def test_a_device_reports_its_limit_and_a_cpu_has_what_the_machine_has():
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 123})
    assert available(gpu) == 123
    assert available(SimpleNamespace(platform="other", memory_stats=lambda: None)) is None
    assert 1e7 < available(jax.devices("cpu")[0]) < 1e14


def test_what_does_not_fit_names_what_to_lower():
    wide, long = Memory(900, 900, 900, 100), Memory(100, 100, 100, 900)
    assert fit(wide, 1000).startswith("fits")
    assert "model.width" in fit(wide, 999)
    assert "training.batch_size" in fit(long, 999)
    assert fit(Memory(3 * 10**9, 0, 0, 0), 10**12) == "fits: 3.0 GB of 1,000.0 GB that are free"


def test_shapes_are_weighted_by_how_often_they_come_and_a_missing_one_goes_by_its_places():
    census = {(2, 5): (0, 30), (2, 10): (3, 10)}
    timed = [((2, 5), 1.0), ((2, 5), 2.0), ((2, 10), 4.0)]
    assert mean_over_shapes(census, timed) == pytest.approx((30 * 1.5 + 10 * 4.0) / 40)
    assert mean_over_shapes(census, timed[:1]) == pytest.approx((30 * 1.0 + 10 * 2.0) / 40)


def test_a_run_is_its_steps_evaluations_and_compilation():
    assert TimeEstimate(step=0.5, compiling=7.0, validation=3.0, test=2.0).run(steps=10, evaluations=4) == 26.0


GROWTH = """
import re, sys, jax
from experiments import settings
from experiments.training.experiment import set_up
from experiments.costs.memory import memory_of

def memory(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

overrides = [word.split("=") for word in sys.argv[2:]]
config, _ = settings.resolve(settings.load_recipe(sys.argv[1]), overrides)
experiment = set_up(config)
h, batch, update = experiment.hyperparameters, experiment.task.batches.at(0), experiment.update()
state = jax.eval_shape(experiment.initial_state, h)
update = update.lower(state, batch, h).compile()
start = jax.jit(experiment.initial_state).lower(h).compile()
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
state = start(h)
for _ in range(4):
    state, metrics = update(state, batch, h)
    jax.block_until_ready(state)
print(memory_of(update).peak, memory("VmHWM") - before)
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("wide", [True, False])
def test_the_peak_is_what_a_process_grows_by_when_it_trains(wide):
    sizes = ["model.width=510", "training.batch_size=64"] if wide else ["model.width=96", "training.batch_size=400"]
    words = [str(TINY), "training.accumulation=1", "model.num_layers=2", *sizes]
    out = subprocess.run([sys.executable, "-c", GROWTH, *words], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    peak, growth = map(int, out.stdout.split())
    assert growth > 2e8
    assert peak == pytest.approx(growth, rel=0.25)


@pytest.mark.full
def test_the_plan_of_a_sweep_prints_groups_lanes_memory_and_time(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    recipe = Path(__file__).parents[2] / "fixtures" / "sweep_recipe.py"
    plan.main([f"--config={recipe}", "--sweep.model.width=8,16", "--probe_steps=1"])
    out = " ".join(capsys.readouterr().out.split())
    assert "a sweep of 4 settings with 2 seeds, chosen by grid: 8 trials" in out
    assert "2 groups, each with its own programs" in out
    assert "peak memory" in out
    assert "of training by one worker" in out
