"""Times of training: whole updates of a recipe or of a named size, alone, in the loop, or beside PyTorch.

share of the roof    operations of the model's matrix products a second, over those of the fastest product that
                     this machine was measured at, of the type that the model computes in
speed over it        seconds of the other program over this library's, in each round; the median of rounds
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import settings
from experiments.benchmarks import roof
from experiments.benchmarks.loop_overhead import EVERY, time_loop
from experiments.benchmarks.processes import share_device
from experiments.benchmarks.profiles import write_profile
from experiments.benchmarks.report import Report, ReportFlags
from experiments.benchmarks.sizes import SIZES, size_experiment
from experiments.benchmarks.train_peers import PEERS
from experiments.benchmarks.train_turns import refuse_other_model, time_in_turns
from experiments.benchmarks.updates import Updates, time_updates
from experiments.cli.compilation import use_compilation_cache
from experiments.costs.needed import refuse_too_large
from experiments.storage.writable import refuse_unwritable_folder
from experiments.training.experiment import Experiment, set_up
from transformer.errors import counted, problem
from transformer.schema import at_least, not_empty, setting

SMALLEST = next(iter(SIZES))

ROUNDS = 5
"""Number of turns."""


@dataclasses.dataclass(frozen=True)
class TrainBenchFlags(ReportFlags):
    """Time training, and write no run directory: python -m experiments.bench train --config=configs/dates.py

    python -m experiments.bench CASE ..., of which `train` may be left out:

      train     whole updates, and the training loop, of a recipe; or of a size, beside PyTorch with --peers
      decode    generation
      sweep     many small trials in one program against one after another
      compile   the first step of a size, and of four times as many layers
      input     the input pipeline of a recipe alone

    `bench CASE --help` lists the flags of a case. Medians stand beside the least and the most. A size takes
    --config.model.NAME=VALUE as a recipe does, and settings of the optimizer, seed, task.context and
    training.batch_size; --peers those that the model in PyTorch follows.
    """

    config: str | None = setting(
        None, f"recipe: a Python file, or the name of one in configs/; none: --size, or {SMALLEST}", check=not_empty
    )
    size: str | None = setting(
        None, "size of a causal language model on random tokens, in place of a recipe", allowed=tuple(SIZES)
    )
    steps: int = setting(
        30,
        "number of updates that are timed, after a warm-up; with --peers, in all rounds, rounded up",
        check=at_least(1, 100_000),
    )
    peers: bool = setting(False, "times of the same model in PyTorch, eager and compiled, beside a size")
    rounds: int | None = setting(
        None,
        f"number of turns of each program with --peers, and of update and loop of a recipe; none: {ROUNDS}",
        check=at_least(1, 10_000),
    )
    processes: int = setting(
        1, "number of processes of each program with --peers, one after another; at most one a round", check=at_least(1)
    )
    loop: bool = setting(True, f"time of the training loop of a recipe, {EVERY} steps a round, beside bare updates")
    profile: str | None = setting(None, "folder for a profile of a few updates; none: no profile", check=not_empty)
    force: bool = setting(
        False,
        "timing though the memory is too small for what one program needs, three of which --peers keeps in memory"
        " unchecked; batches must fit",
    )


def time_training(flags: TrainBenchFlags, overrides: Sequence[tuple[str, str]], report: Report) -> None:
    """Time the updates of a recipe or of a size, and print the tables.

    Raises:
        UserError: flags that contradict each other, a folder that cannot be written, too little memory.
    """
    if flags.peers:
        share_device()
    experiment, notes = _chosen(flags, overrides)
    rounds = flags.rounds or ROUNDS
    title = flags.config or flags.size or SMALLEST
    if not flags.force:
        refuse_too_large(experiment)
    if flags.profile is not None:
        refuse_unwritable_folder(Path(flags.profile), "--profile")
    use_compilation_cache()
    names = report.installed(dict.fromkeys(PEERS, ("torch",))) if flags.peers else []
    report.begin(settings.to_json_dict(experiment.config), ["torch"] if names else [], notes)
    if flags.peers:
        turns = dict(steps=math.ceil(flags.steps / rounds), rounds=rounds, processes=flags.processes)
        rows = time_in_turns(report, flags.size or SMALLEST, overrides, names, **turns)
        title = f"{title}, {counted(rounds * turns['steps'], 'update')} in {counted(rounds, 'round')}"
    else:
        row, updates = time_updates(experiment, flags.steps)
        rows, title = [row], f"{title}, {counted(flags.steps, 'update')}"
    found = roof.roofs()
    dtype = experiment.config.model.dtype
    report.table(title, [row | {"share of the roof": 1e9 * row["GFLOP/s"] / found[dtype].speed} for row in rows])
    report.table("fastest products of two matrices", roof.rows_of(found))
    if flags.config is not None and flags.loop:
        title = f"loop, medians of {counted(rounds, 'round')} of {EVERY} steps"
        with report.progress(rounds + 1, "rounds") as advance:
            rows = time_loop(experiment, rounds, advance=advance)
        report.table(title, rows)
    if flags.profile is not None:
        write_profile(report, _warm(experiment) if flags.peers else updates, Path(flags.profile))


def _chosen(flags: TrainBenchFlags, overrides: Sequence[tuple[str, str]]) -> tuple[Experiment, Sequence[str]]:
    """Build the experiment of a recipe or of a size; return it with lines about its settings."""
    if flags.rounds is not None and not flags.peers and (flags.config is None or not flags.loop):
        do = "Add --peers to a size, or leave --rounds out; --steps is the number of updates."
        raise problem("--rounds is not read: nothing is timed in turns", got=flags.rounds, do=do)
    if flags.processes > 1 and not flags.peers:
        do = "Add --peers to a size, or leave --processes out."
        raise problem("--processes is not read without --peers", got=flags.processes, do=do)
    if flags.config is None:
        if flags.peers:
            refuse_other_model(overrides)
        return size_experiment(flags.size or SMALLEST, overrides)
    given: dict[str, Any] = {"--size": flags.size, "--peers": flags.peers or None}
    for name, value in given.items():
        if value is not None:
            do = f"Leave one of them out. --peers times a size: --size={SMALLEST}."
            raise problem(f"{name} and --config are both given", got=value, do=do)
    config, notes = settings.resolve(settings.load_recipe(flags.config), overrides)
    return set_up(config), notes


def _warm(experiment: Experiment) -> Updates:
    updates = Updates(experiment, 1)
    updates.warm_up()
    return updates
