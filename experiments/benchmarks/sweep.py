"""Times of many small trials as lanes of one program, one after another in a warm process, and in a process each.

The model is small (2 layers, D 64, T 32, 16 windows a batch), so that the times show the costs beside the
arithmetic: calls from Python, starting, compiling. Lanes and single trials take turns, each in a process of its own.
"""

import concurrent.futures
import multiprocessing
import platform
import shutil
import signal
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.terminal import terminal
from experiments.storage.workdir import versions
from experiments.sweeping.groups import Experiments
from experiments.sweeping.lanes import lanes_mesh, make_lanes, mode_of, started, use_cores
from experiments.sweeping.space import DATA_SEED
from experiments.training import signals
from experiments.training.processes import child
from experiments.training.progress import devices_in_words, print_line
from experiments.training.tables import final_table, print_table
from transformer.errors import counted

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


def print_lanes_benchmark(trials: int, steps: int, rounds: int, processes: int, mode: str, devices: int | None) -> None:
    """Time trials as lanes and one after another, and print the table of medians, with the least and the most.

    Args:
        trials: number of lanes, and of trials one after another.
        steps: steps per trial.
        rounds: number of measurements of lanes and of single trials.
        processes: number of trials that are trained in a process of their own.
        mode: a row of MODES, or "auto".
        devices: number of parts of a CPU that compute side by side; None: its cores.
    """
    console = terminal()
    lanes, single = [], []
    for _ in range(rounds):
        lanes.append(_in_a_process(_lanes, trials, steps, mode, devices))
        single.append(_in_a_process(_one_after_another, trials, steps))
    separate = [_train_in_a_process(steps) for _ in range(processes)]
    base = statistics.median(seconds for seconds, _ in lanes)
    rows = [
        _line(f"{counted(trials, 'lane')} of one program", [seconds for seconds, _ in lanes], trials, base),
        _line(f"{trials} one after another, in a warm process", [seconds for seconds, _ in single], trials, base),
    ]
    if separate:
        rows.append(
            _line(f"a process for each, of {processes} timed", [trials * seconds for seconds in separate], trials, base)
        )
    print_table(
        console,
        final_table(
            rows, title=f"{counted(trials, 'trial')} of {counted(steps, 'step')}, medians of {counted(rounds, 'round')}"
        ),
    )
    installed = versions()
    print_line(console, f"{lanes[0][1]}; alone: {single[0][1]}")
    print_line(console, f"{platform.machine()}, {_processor()}, Python {installed['python']}, JAX {installed['jax']}")


def _line(what: str, seconds: list[float], trials: int, base: float) -> dict[str, str]:
    middle = statistics.median(seconds)
    return {
        "trials": what,
        "seconds": f"{middle:.1f} ({min(seconds):.1f} to {max(seconds):.1f})",
        "trials an hour": f"{3600 * trials / middle:,.0f}",
        "times as long as lanes": f"{middle / base:.2f}",
    }


def _in_a_process(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, with a JAX of its own; return its result."""
    spawn = multiprocessing.get_context("spawn")

    def start() -> tuple[concurrent.futures.ProcessPoolExecutor, concurrent.futures.Future]:
        pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: its parent ends it
        try:
            return pool, pool.submit(measure, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    with signals.owned(start, _kill_children) as (pool, future):
        result = future.result()
        pool.shutdown()
        return result


def _kill_children(_: Any) -> None:
    for process in multiprocessing.active_children():
        process.kill()


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

    def train(steps: int) -> float:
        began = time.perf_counter()
        states, running, h = started(first, hyperparameters, trials, mesh)
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
    """Time one trial by `experiments.train`, from the command to its end; return seconds."""
    with signals.owned(tempfile.mkdtemp, shutil.rmtree) as folder:
        path = Path(folder) / "small.py"
        path.write_text(
            f"from experiments.benchmarks import sweep\n\n\ndef get_config():\n    return sweep.recipe({steps})\n"
        )
        command = [sys.executable, "-m", "experiments.train", f"--config={path}", f"--workdir={folder}/run"]
        began = time.perf_counter()
        with child(command, Path(folder) / "output") as process:
            if process.wait() != 0:
                raise RuntimeError((Path(folder) / "output").read_text(errors="replace"))
        return time.perf_counter() - began


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
