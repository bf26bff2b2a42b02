"""The settings of a sweep beside its recipe and its space, as the command and the function take them."""

import dataclasses

from experiments.cli.flags import REQUIRED
from experiments.comparing.power import ENOUGH
from experiments.storage.table_files import MEANING
from experiments.sweeping.deciding import MAX_SEEDS
from experiments.sweeping.keeping import KEEP
from experiments.sweeping.lanes import MODES, MOST_DEVICES, MOST_TRIALS
from experiments.sweeping.search import DATA
from experiments.sweeping.study import SAMPLERS
from transformer.schema import Check, above, at_least, not_empty, setting

BEST = "best"
"""Name of the trial that ranks first."""


@dataclasses.dataclass(frozen=True)
class SweepFlags:
    """Train a model with many settings, and print which are best:

    python -m experiments.sweep --config=configs/dates.py --workdir=runs/sweep \\
        --sweep.optimizer.learning_rate=log:1e-4:1e-2 --sweep.model.num_layers=2,4 --sweep.seed=0:3 --trials=20

    Trials that differ in seed, learning rate, warm-up, weight decay, betas, dropout, label smoothing or initial scale
    train side by side in one program, each as one of its lanes. The same command again continues the sweep or joins
    it: any number of workers share one --storage, and the trials of a worker that has ended are continued by others.

    Trials are ranked by the mean over seeds of the best validation score that training.output.best names (none: the
    task's first metric); ties by the validation loss of that evaluation, also for the search algorithm and halvings.
    The exit code is 1 where no trial is the best, as where all diverged. The loss of a progress line is the mean over
    the lanes that train of the loss of that step's batch, with dropout on.

    With --margin, the least difference that matters to you, each trial is decided against a reference, seed by seed:
    holds (better), reversed (worse), no difference, fails, or undecided. --decide adds seeds by itself until then:

    python -m experiments.sweep --config=configs/dates.py --workdir=runs/norms --sweep.model.norm=layer,rms \
        --decide --margin=0.02 --max_seeds=16

    The same command with --finish=best --config.training.steps=N trains the best trial on to N steps, as a run in
    WORKDIR/finished that it continues when it is given again: from the trial's checkpoints where they are kept, as
    experiments.train makes a finished run longer, else from the start.

    --sweep.SETTING=VALUES, where SETTING is as under --config, and VALUES one of
      2,4,6             these values
      LOW:HIGH          whole numbers from LOW to below HIGH
      log:LOW:HIGH      numbers between, drawn evenly by their logarithm
      linear:LOW:HIGH   numbers between, drawn evenly
    --sweep.A+B=1+2,3+4 changes two settings together; --sweep.A@B:VALUE=... varies A only where B has this value;
    --sweep.seed=0:5 trains every setting with each seed. A recipe's get_sweep() gives the same as a dict.
    """

    config: str = setting(
        REQUIRED, "recipe: a Python file with get_config() and possibly get_sweep(), or the name of one in configs/"
    )
    workdir: str = setting(REQUIRED, "working directory for trials, results and pictures")
    storage: str | None = setting(
        None,
        "database that workers share: sqlite:///PATH or postgresql://...; none: WORKDIR/study.db",
        check=not_empty,
    )
    study: str | None = setting(None, "name of the study in the storage; none: the recipe's name", check=not_empty)
    trials: int | None = setting(
        None, "number of combinations of settings to train; none: all of a finite space", check=at_least(1, MOST_TRIALS)
    )
    sampler: str | None = setting(
        None,
        "search algorithm; none: grid for a finite space that is tried in full, else tpe",
        allowed=("grid", *SAMPLERS),
    )
    lanes: int | None = setting(
        None, "number of trials at once; none: as many as memory holds, at most 32", check=at_least(1, MOST_TRIALS)
    )
    mode: str = setting(
        "auto", "computation of lanes on a device; auto: map on a CPU, vmap elsewhere", allowed=("auto", *MODES)
    )
    devices: int | None = setting(
        None, "number of parts of a CPU that compute side by side; none: its cores", check=at_least(1, MOST_DEVICES)
    )
    data: str = setting(
        "shared",
        "seed that draws and orders the data: the recipe's for all trials (shared), or each trial's own (own)",
        allowed=DATA,
    )
    halvings: int = setting(
        0,
        "number of times that the worse half of the trials in a program is stopped, the last at half of the steps",
        check=at_least(0, 30),
    )
    margin: float | None = setting(
        None,
        "least difference of the ranking metric that matters, by which each trial is decided against the reference;"
        " none: no words",
        check=above(0.0),
    )
    reference: str | None = setting(
        None,
        "trial that the others are decided against: its number, or NAME=VALUE,...; none: the first of the grid",
        check=not_empty,
    )
    decide: bool = setting(
        False, "addition of seeds, to 4, 8, 16 and so on, until each trial is decided or has --max_seeds"
    )
    max_seeds: int | None = setting(
        None, f"most seeds of a trial with --decide; none: {MAX_SEEDS}", check=at_least(ENOUGH, MOST_TRIALS)
    )
    keep: str = setting("best", "trials whose checkpoints are kept", allowed=KEEP)
    heartbeat: int = setting(
        15, "heartbeat interval (seconds); a worker that misses 4 counts as dead", check=at_least(1, 86_400)
    )
    init_from: str | None = setting(
        None,
        "run whose parameters all trials start from: WORKDIR, or WORKDIR@best, @last or @STEP; or the directory of a"
        " checkpoint of Hugging Face; none: random ones",
        check=not_empty,
    )
    init_only: tuple[str, ...] = setting((), "parts of the parameters that --init_from takes, as A,B; none: all")
    init_skip: tuple[str, ...] = setting((), "parts of the parameters that start fresh beside --init_from, as A,B")
    trust_code: bool = setting(False, "consent to run code that the config.json of --init_from names by a dotted path")
    finish: str | None = setting(
        None,
        "trial that goes on to more --config.training.steps, in WORKDIR/finished, in place of a sweep: best, or its"
        " number; none: a sweep",
        check=Check(lambda text: text == BEST or text.isdecimal(), "best, or the number of a trial"),
    )
    output: str | None = setting(None, MEANING, check=not_empty)
    force: bool = setting(False, "training though the memory is too small for what the trials need")
    workers: int | None = setting(
        None, "number of workers to start; none: this process alone", check=at_least(1, 10_000)
    )
    slurm: bool = setting(False, "start of the workers as Slurm jobs; false: as processes of this machine")
    slurm_options: str | None = setting(
        None,
        "options of sbatch by submitit's names, such as partition=gpu,timeout_min=60; none: submitit's defaults",
        check=not_empty,
    )
