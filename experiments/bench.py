"""Times the parts of a training step of a recipe; `bench sweep` times trials as lanes against one after another."""

import dataclasses
from collections.abc import Sequence

from experiments import settings
from experiments.benchmarks.sweep import show
from experiments.benchmarks.train import show_speeds
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.sweeping.lanes import MODES
from experiments.training.experiment import set_up
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class BenchFlags:
    """Times a recipe's steps, and writes nothing: python -m experiments.bench --config=configs/dates.py

    python -m experiments.bench sweep times trials in one program instead; `bench sweep --help` tells more.
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config()")
    steps: int = setting(50, "updates that are timed, after as many that are not", check=at_least(1))
    batches: int = setting(2000, "batches that the input pipeline alone makes", check=at_least(2))


@dataclasses.dataclass(frozen=True)
class SweepBenchFlags:
    """Times many small trials in one program against one after another: python -m experiments.bench sweep"""

    trials: int = setting(16, "trials, and lanes", check=at_least(1))
    steps: int = setting(200, "of each", check=at_least(1))
    rounds: int = setting(3, "that are timed of each, taking turns", check=at_least(1))
    processes: int = setting(3, "trials that are timed in a process of their own; 0: none", check=at_least(0))
    mode: str = setting("auto", "how lanes share a device; auto: the fastest", allowed=("auto", *MODES))
    devices: int | None = setting(None, "parts of a CPU that compute side by side; none: its cores", check=at_least(1))


def main(argv: Sequence[str]) -> None:
    if argv and argv[0] == "sweep":
        sweep, _ = parse(argv[1:], SweepBenchFlags, overridable=False)
        show(**dataclasses.asdict(sweep))
        return
    flags, overrides = parse(argv, BenchFlags)
    config, _ = settings.resolve(settings.load_recipe(flags.config), overrides)
    use_compilation_cache()
    show_speeds(set_up(config), flags.config, batches=flags.batches, steps=flags.steps)


if __name__ == "__main__":
    run(main)
