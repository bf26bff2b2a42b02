"""The command that estimates the costs of a recipe's run: parameters, operations, memory and time."""

import dataclasses
from collections.abc import Sequence

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.table_output import write_table
from experiments.cli.terminal import terminal
from experiments.comparing import planning
from experiments.comparing.decision import LOOKS, RISING
from experiments.comparing.results import read_results
from experiments.costs.plan import show_plan
from experiments.storage.table_files import MEANING, TableFile
from experiments.sweeping.grammar import split_flags
from experiments.sweeping.lanes import MOST_TRIALS, use_cores
from experiments.sweeping.planning import print_sweep_plan
from experiments.sweeping.search import make_sweep
from experiments.training.experiment import set_up
from experiments.training.progress import print_line
from experiments.training.tables import print_table
from transformer.errors import problem
from transformer.schema import above, at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class PlanFlags:
    """Estimate the costs of a run, and write nothing: python -m experiments.plan --config=configs/dates.py

    It compiles what the run does and times some of its updates; --probe_steps=0 leaves out the time.

    With --sweep.SETTING=VALUES, as for experiments.sweep, or a recipe with get_sweep(), those of the sweep too.

    With --power, what so many seeds can show before they run: the least effect, and the least margin within which two
    settings are shown to be equal, as experiments.compare --against and experiments.sweep --decide decide them.
    """

    config: str = setting(REQUIRED, "recipe: a Python file with get_config(), or the name of one in configs/")
    probe_steps: int = setting(
        10,
        "number of steps that are timed, after as many that are not; 0: no estimate of time",
        check=at_least(0, 100_000),
    )
    trials: int | None = setting(
        None,
        "number of combinations of settings in a sweep; none: all of a finite space",
        check=at_least(1, MOST_TRIALS),
    )
    lanes: int | None = setting(
        None, "number of trials of a sweep at once; none: as many as memory holds", check=at_least(1, MOST_TRIALS)
    )
    power: bool = setting(False, "table of what numbers of seeds can show, and of their costs")
    seeds: tuple[int, ...] = setting(
        LOOKS, "numbers of seeds of that table, at which the word is to be read", check=RISING
    )
    deviation: float | None = setting(
        None,
        "standard deviation of the difference of two runs of one seed, in the unit of the metric; none: that of --from",
        check=at_least(0.0, 1e6),
    )
    from_: tuple[str, ...] = setting((), "finished runs, or a sweep, from which the deviation is estimated")
    metric: str | None = setting(None, "metric of --from; none: the one that selects checkpoints")
    margin: float | None = setting(
        None, "least difference that matters, for the table; none: without", check=above(0.0)
    )
    output: str | None = setting(None, MEANING, check=not_empty)


def main(argv: Sequence[str]) -> None:
    words, varied = split_flags(argv)
    flags, overrides = parse(words, PlanFlags)
    _check_power(flags)
    output = TableFile(flags.output)
    recipe, space = load_recipe_and_sweep(flags.config)
    config, notes = settings.resolve(recipe, overrides)
    swept = None
    if space or varied:
        swept = make_sweep(recipe, overrides, {**space, **varied}, data="shared", sampler=None, trials=flags.trials)
        use_cores(None)
    elif flags.trials is not None or flags.lanes is not None:
        name = "lanes" if flags.trials is None else "trials"
        raise problem(
            f"--{name} is not read without a sweep",
            got=getattr(flags, name),
            do="Leave it out, or add --sweep.SETTING=VALUES.",
        )
    use_compilation_cache()
    console = terminal()
    for note in dict.fromkeys([*notes, *(swept.notes if swept is not None else ())]):
        print_line(console, note)
    experiment = set_up(config)
    if flags.power:
        deviation = _deviation(flags, experiment.config.training.output.best)
    seconds, rows = show_plan(console, experiment, flags.probe_steps)
    runs, seconds = 2, None if seconds is None else 2 * seconds
    if swept is not None:
        seconds, groups = print_sweep_plan(console, swept, flags.lanes, flags.probe_steps)
        runs, rows = len(swept.search.points), [*rows, *groups]
    if flags.power:
        print_table(console, planning.table(flags.seeds, deviation, flags.margin, seconds))
        for line in planning.lines(deviation, flags.margin, runs):
            print_line(console, line)
        rows += planning.power_rows(flags.seeds, deviation, flags.margin, seconds)
    write_table(output, rows, "plan", argv)


def _deviation(flags: PlanFlags, metric: str) -> planning.Deviation | None:
    """Return the deviation that flags give, or that of runs; None without either."""
    if flags.deviation is not None:
        return planning.Deviation(flags.deviation, "as given")
    if not flags.from_:
        return None
    return planning.deviation_of(read_results(flags.from_), flags.metric or metric)


def _check_power(flags: PlanFlags) -> None:
    """Raise a UserError for a flag of the table of power that nothing reads."""
    plain = PlanFlags(flags.config)
    for name in () if flags.power else ("seeds", "deviation", "from_", "metric", "margin"):
        if getattr(flags, name) != getattr(plain, name):
            do = f"Add --power, or leave --{name.rstrip('_')} out."
            raise problem(f"--{name.rstrip('_')} is not read without --power", got=getattr(flags, name), do=do)
    if flags.deviation is not None and flags.from_:
        raise problem("--from is not read with --deviation", got=", ".join(flags.from_), do="Leave one of them out.")
    if flags.metric is not None and not flags.from_:
        raise problem("--metric is not read without --from", got=flags.metric, do="Add --from=RUN,RUN,...")


if __name__ == "__main__":
    run(main)
