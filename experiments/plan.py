"""Says what a recipe's run will take: parameters, operations, memory and time. Keeps nothing."""

import dataclasses
from collections.abc import Sequence

from rich.console import Console

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.cli.recipes import load_recipe_and_sweep
from experiments.costs.plan import show_plan
from experiments.sweeping.grammar import split_flags
from experiments.sweeping.lanes import use_cores
from experiments.sweeping.planning import show_sweep_plan
from experiments.sweeping.session import make_sweep
from experiments.training.experiment import set_up
from experiments.training.progress import print_line
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class PlanFlags:
    """Says what a run will take, and writes nothing: python -m experiments.plan --config=configs/dates.py

    With --sweep.SETTING=VALUES, as experiments.sweep has them, or a recipe with get_sweep(), what the sweep will take.
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config()")
    probe_steps: int = setting(10, "steps that are timed, after as many that are not; 0: no time", check=at_least(0))
    trials: int | None = setting(None, "settings that a sweep tries; none: all of a finite space", check=at_least(1))
    lanes: int | None = setting(None, "trials of a sweep at once; none: as many as memory holds", check=at_least(1))


def main(argv: Sequence[str]) -> None:
    words, varied = split_flags(argv)
    flags, overrides = parse(words, PlanFlags)
    recipe, space = load_recipe_and_sweep(flags.config)
    config, notes = settings.resolve(recipe, overrides)
    swept = None
    if space or varied:
        swept = make_sweep(recipe, overrides, {**space, **varied}, data="shared", sampler=None, trials=flags.trials)
        use_cores(None)
    use_compilation_cache()
    console = Console(highlight=False)
    for note in notes:
        print_line(console, note)
    show_plan(console, set_up(config), flags.probe_steps)
    if swept is not None:
        show_sweep_plan(console, swept, flags.lanes, flags.probe_steps)


if __name__ == "__main__":
    run(main)
