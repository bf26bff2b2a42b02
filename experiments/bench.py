"""The command that times a recipe's training steps; `bench sweep` times trials as lanes, `bench decode` generation."""

import dataclasses
from collections.abc import Sequence

from experiments import settings
from experiments.benchmarks.decode import print_decode_benchmark
from experiments.benchmarks.sweep import print_lanes_benchmark
from experiments.benchmarks.train import print_speeds
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.costs.needed import refuse_too_large
from experiments.sweeping.lanes import MODES, MOST_DEVICES
from experiments.training.experiment import set_up
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class BenchFlags:
    """Time a recipe's steps, and write nothing: python -m experiments.bench --config=configs/dates.py

    python -m experiments.bench sweep times trials in one program instead, python -m experiments.bench decode
    generation; see `bench sweep --help`, `bench decode --help`.
    """

    config: str = setting(REQUIRED, "recipe: a Python file with get_config(), or the name of one in configs/")
    steps: int = setting(50, "number of updates that are timed, after as many that are not", check=at_least(1, 100_000))
    force: bool = setting(False, "timing though the memory is too small for what the run needs")
    batches: int = setting(2000, "number of batches for the time of the input pipeline alone", check=at_least(2))


@dataclasses.dataclass(frozen=True)
class SweepBenchFlags:
    """Time many small trials in one program against one after another: python -m experiments.bench sweep"""

    trials: int = setting(16, "number of trials, each a lane", check=at_least(1, 1024))
    steps: int = setting(200, "steps per trial", check=at_least(1))
    rounds: int = setting(3, "number of measurements of lanes and of single trials, in turn", check=at_least(1, 10_000))
    processes: int = setting(3, "number of trials that are timed in a process of their own", check=at_least(0, 10_000))
    mode: str = setting(
        "auto", "computation of lanes on a device; auto: map on a CPU, vmap elsewhere", allowed=("auto", *MODES)
    )
    devices: int | None = setting(
        None, "number of parts of a CPU that compute side by side; none: its cores", check=at_least(1, MOST_DEVICES)
    )


@dataclasses.dataclass(frozen=True)
class DecodeBenchFlags:
    """Time generation by a model of GPT-2's size and one of Marian's: python -m experiments.bench decode --peers"""

    peers: bool = setting(False, "times of transformers (PyTorch) and CTranslate2 beside this library's")
    rounds: int = setting(5, "number of measurements of each program, in turn", check=at_least(1, 10_000))


def main(argv: Sequence[str]) -> None:
    if argv and argv[0] == "decode":
        decode, _ = parse(argv[1:], DecodeBenchFlags, overridable=False)
        print_decode_benchmark(**dataclasses.asdict(decode))
        return
    if argv and argv[0] == "sweep":
        sweep, _ = parse(argv[1:], SweepBenchFlags, overridable=False)
        print_lanes_benchmark(**dataclasses.asdict(sweep))
        return
    flags, overrides = parse(argv, BenchFlags)
    config, notes = settings.resolve(settings.load_recipe(flags.config), overrides)
    for note in notes:
        print(note)
    use_compilation_cache()
    experiment = set_up(config)
    if not flags.force:
        refuse_too_large(experiment)
    print_speeds(experiment, flags.config, batches=flags.batches, steps=flags.steps)


if __name__ == "__main__":
    run(main)
