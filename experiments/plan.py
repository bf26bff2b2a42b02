"""The command that estimates the costs of a recipe's run: parameters, operations, memory and time."""

import dataclasses
from collections.abc import Sequence

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.cli.terminal import terminal
from experiments.costs.plan import show_plan
from experiments.sweeping.grammar import split_flags
from experiments.sweeping.lanes import MOST_TRIALS, use_cores
from experiments.sweeping.planning import print_sweep_plan
from experiments.sweeping.search import make_sweep
from experiments.training.experiment import set_up
from experiments.training.progress import print_line
from transformer.errors import problem
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class PlanFlags:
    """Estimate the costs of a run, and write nothing: python -m experiments.plan --config=configs/dates.py

    With --sweep.SETTING=VALUES, as for experiments.sweep, or a recipe with get_sweep(), those of the sweep too.
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


def main(argv: Sequence[str]) -> None:
    words, varied = split_flags(argv)
    flags, overrides = parse(words, PlanFlags)
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
    show_plan(console, set_up(config), flags.probe_steps)
    if swept is not None:
        print_sweep_plan(console, swept, flags.lanes, flags.probe_steps)


if __name__ == "__main__":
    run(main)
