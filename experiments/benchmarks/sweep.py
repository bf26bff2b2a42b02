"""Times of many small trials as lanes of one program, one after another in a warm process, and in a process each.

The model is small (2 layers, D 64, T 32, 16 windows a batch), so that the times show the costs beside the
arithmetic: calls from Python, starting, compiling. Lanes and single trials take turns, each in a process of its own.
"""

import dataclasses
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments import settings
from experiments.benchmarks.processes import in_a_process, share_device
from experiments.benchmarks.report import Report, ReportFlags, spread
from experiments.cli.compilation import use_compilation_cache
from experiments.sweeping.groups import Experiments
from experiments.sweeping.lanes import (
    MODES,
    MOST_DEVICES,
    lanes_mesh,
    make_lanes,
    mode_of,
    padded,
    started,
    use_cores,
)
from experiments.sweeping.space import DATA_SEED
from experiments.training import signals
from experiments.training.processes import child
from experiments.training.progress import devices_in_words
from transformer.errors import counted, problem
from transformer.schema import at_least, setting

FETCH_EVERY = 50
"""Steps between reads of the metrics, as in a run that writes them."""


def recipe(steps: int) -> ConfigDict:
    """Return the recipe of a causal language model of characters, on a module of Python's standard library."""
    c = settings.defaults(task="language_modelling", data="files")
    c.task.context = 32
    c.tokenizer.name = "characters"
    c.data.path = str(Path(sysconfig.get_path("stdlib")) / "argparse.py")
    c.model.update(architecture="decoder_only", num_layers=2, width=64, num_heads=4)
    c.training.update(steps=steps, batch_size=16)
    c.training.output.update(evaluate_every=steps, log_every=FETCH_EVERY, tensorboard=False)
    return c


@dataclasses.dataclass(frozen=True)
class SweepBenchFlags(ReportFlags):
    """Time many small trials in one program against one after another: python -m experiments.bench sweep"""

    trials: int = setting(16, "number of trials, each a lane", check=at_least(1, 1024))
    steps: int = setting(200, "steps per trial", check=at_least(1))
    rounds: int = setting(3, "number of measurements of lanes and of single trials", check=at_least(1, 10_000))
    processes: int = setting(3, "number of trials that are timed in a process of their own", check=at_least(0, 10_000))
    mode: str = setting(
        "auto", "computation of lanes on a device; auto: map on a CPU, vmap elsewhere", allowed=("auto", *MODES)
    )
    devices: int | None = setting(
        None, "number of parts of a CPU that compute side by side; none: its cores", check=at_least(1, MOST_DEVICES)
    )


def time_lanes(flags: SweepBenchFlags, overrides: Sequence[Any], report: Report) -> None:
    """Time trials as lanes and one after another, and print the table of medians, with the least and the most.

    Args:
        overrides: none; the recipe of the trials is `recipe`.
    """
    trials, steps = flags.trials, flags.steps
    share_device()
    report.begin(settings.to_json_dict(settings.resolve(recipe(steps))[0]))
    lanes, single, separate = [], [], []
    processes = flags.processes + 1 if flags.processes else 0
    with report.progress(2 * flags.rounds + processes, "processes") as advance:
        for _ in range(flags.rounds):
            lanes.append(in_a_process(_lanes, trials, steps, flags.mode, flags.devices))
            advance(1)
            single.append(in_a_process(_one_after_another, trials, steps))
            advance(1)
        for _ in range(processes):
            separate.append(_train_in_a_process(steps))
            advance(1)
    base = statistics.median(seconds for seconds, _ in lanes)
    rows = [
        _row(f"{counted(trials, 'lane')} of one program", [seconds for seconds, _ in lanes], trials, base),
        _row(f"{trials} one after another, in a warm process", [seconds for seconds, _ in single], trials, base),
    ]
    if separate:
        seconds = [trials * each for each in separate[1:]]  # the first one fills the compilation cache
        what = f"a process for each, with start, evaluation and checkpoint, of {flags.processes} timed"
        rows.append(_row(what, seconds, trials, base))
    title = f"{counted(trials, 'trial')} of {counted(steps, 'step')}, medians of {counted(flags.rounds, 'round')}"
    report.table(title, rows)
    report.line(f"{lanes[0][1]}; alone: {single[0][1]}")


def _row(what: str, seconds: list[float], trials: int, base: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    return {
        "trials": what,
        **spread("seconds", seconds, "s"),
        "trials an hour": 3600 * trials / median,
        "times as long as lanes": median / base,
    }


def _experiments(trials: int, steps: int) -> list[Any]:
    """Build the experiment of each seed, all with the same data."""
    use_compilation_cache()
    made = Experiments()
    given = [[("seed", str(seed)), (DATA_SEED, "0")] for seed in range(trials)]
    return [made.of(settings.resolve(recipe(steps), overrides)[0]) for overrides in given]


def _lanes(trials: int, steps: int, mode: str, devices: int | None) -> tuple[float, str]:
    """Time all trials as lanes, their start included, after a first run; return seconds and the devices in words."""
    use_cores(devices)
    experiments, mesh, mode = _experiments(trials, steps), lanes_mesh(), mode_of(mode)
    update = make_lanes(experiments[0].update_of_one(), mode, mesh, shared=True)
    first = jax.jit(experiments[0].initial_state)
    hyperparameters = [experiment.hyperparameters for experiment in experiments]
    size = padded(trials, mesh.size)

    def train(steps: int) -> float:
        began = time.perf_counter()
        states, running, h = started(first, hyperparameters, size, mesh)
        pending = []
        for step, batch in zip(range(steps), experiments[0].task.training_batches(), strict=False):
            states, running, metrics = update(states, running, batch, h)
            pending.append(metrics)
            if step % FETCH_EVERY == FETCH_EVERY - 1:
                jax.device_get(pending)
                pending = []
        jax.block_until_ready(states)
        return time.perf_counter() - began

    train(5)
    return train(steps), f"lanes by {mode} on {devices_in_words()}"


def _one_after_another(trials: int, steps: int) -> tuple[float, str]:
    """Time the trials one after another, after a first run; return seconds and the devices in words."""
    experiments = _experiments(trials, steps)
    update, first = experiments[0].update(), jax.jit(experiments[0].initial_state)

    def train(experiment: Any, steps: int) -> None:
        state, pending = first(experiment.hyperparameters), []
        for step, batch in zip(range(steps), experiment.task.training_batches(), strict=False):
            state, metrics = update(state, batch, experiment.hyperparameters)
            pending.append(metrics)
            if step % FETCH_EVERY == FETCH_EVERY - 1:
                jax.device_get(pending)
                pending = []
        jax.block_until_ready(state)

    train(experiments[0], 5)
    began = time.perf_counter()
    for experiment in experiments:
        train(experiment, steps)
    return time.perf_counter() - began, devices_in_words()


def _train_in_a_process(steps: int) -> float:
    """Time one trial by `experiments.train`, from the command to its end; return seconds.

    Raises:
        UserError: the command fails.
    """
    with signals.owned(tempfile.mkdtemp, shutil.rmtree) as folder:
        path = Path(folder) / "small.py"
        path.write_text(
            f"from experiments.benchmarks import sweep\n\n\ndef get_config():\n    return sweep.recipe({steps})\n"
        )
        command = [sys.executable, "-m", "experiments.train", f"--config={path}", f"--workdir={folder}/run"]
        began = time.perf_counter()
        with child(command, Path(folder) / "output") as process:
            if process.wait() != 0:
                lines = (Path(folder) / "output").read_text(errors="replace").split("\n")
                last = " ".join([line.strip() for line in lines if line.strip()][-3:])
                do = "Leave the processes of single trials out: --processes=0."
                raise problem("experiments.train failed in a process of its own", got=last, do=do)
        return time.perf_counter() - began
