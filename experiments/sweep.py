"""Sweeps settings: many trials in one program, many workers on one study."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.sweeping.grammar import split_flags
from experiments.sweeping.lanes import MODES
from experiments.sweeping.launch import submit
from experiments.sweeping.session import DATA, sweep
from experiments.sweeping.study import SAMPLERS
from experiments.sweeping.worker import KEEP
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class SweepFlags:
    """Trains a model with many settings, and says which are best:

    python -m experiments.sweep --config=configs/dates.py --workdir=runs/sweep \\
        --sweep.optimizer.learning_rate=log:1e-4:1e-2 --sweep.model.num_layers=2,4 --sweep.seed=0:3 --trials=20

    Trials that differ in seed, learning rate, warm-up, weight decay, betas, dropout, label smoothing or initial scale
    train side by side in one program. The same command again goes on, or joins in: any number of workers share one
    --storage, and the trials of a worker that died are taken up by others.

    --sweep.SETTING=VALUES, where SETTING is as under --config, and VALUES one of
      2,4,6               these              LOW:HIGH           whole numbers from LOW to below HIGH
      log:LOW:HIGH        by the logarithm   linear:LOW:HIGH    evenly
    --sweep.A+B=1+2,3+4 moves two settings together; --sweep.A@B:VALUE=... varies A only where B has this value;
    --sweep.seed=0:5 trains every setting with each seed. A recipe's get_sweep() gives the same as a dict.
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config() and maybe get_sweep()")
    workdir: str = setting(REQUIRED, "the directory for trials, results and pictures")
    storage: str | None = setting(
        None, "the database that workers share, sqlite:///PATH or postgresql://...; none: WORKDIR/study.db"
    )
    study: str | None = setting(None, "its name in the storage; none: the recipe's name")
    trials: int | None = setting(None, "how many settings are tried; none: all of a finite space", check=at_least(1))
    sampler: str | None = setting(
        None,
        "who chooses them; none: grid of a finite space that is tried in full, else tpe",
        allowed=("grid", *SAMPLERS),
    )
    lanes: int | None = setting(None, "trials at once; none: as many as memory holds, at most 32", check=at_least(1))
    mode: str = setting(
        "auto", "how lanes share a device; auto: map on a CPU, vmap elsewhere", allowed=("auto", *MODES)
    )
    devices: int | None = setting(None, "parts of a CPU that compute side by side; none: its cores", check=at_least(1))
    data: str = setting("shared", "one data seed for all trials, or each trial's own seed", allowed=DATA)
    halvings: int = setting(0, "how often the worse half of the trials in a program stops", check=at_least(0))
    keep: str = setting("best", "whose checkpoints are written out at the end", allowed=KEEP)
    heartbeat: int = setting(15, "seconds between signs of life; 4 missed: it is dead", check=at_least(1))
    workers: int | None = setting(None, "workers to start, instead of being one; none: be one", check=at_least(1))
    slurm: bool = setting(False, "start the workers as Slurm jobs; without it, as processes here")
    slurm_options: str | None = setting(None, "of sbatch by submitit's names, such as partition=gpu,timeout_min=60")


def main(argv: Sequence[str]) -> int:
    words, space = split_flags(argv)
    flags, overrides = parse(words, SweepFlags)
    if flags.workers is not None or flags.slurm:
        return submit(flags, argv)
    use_compilation_cache()
    return sweep(flags, overrides, space)


if __name__ == "__main__":
    run(main)
