"""Trains a model from a recipe; the same command again continues where it stopped."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments import settings
from experiments.command_line import REQUIRED, parse, run
from experiments.compilation import use_compilation_cache
from experiments.session import train
from transformer.schema import setting


@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """Trains a model from a recipe:

    python -m experiments.train --config=configs/dates.py --workdir=runs/dates

    The same command again continues from the newest checkpoint.
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config()")
    workdir: str = setting(REQUIRED, "the directory for checkpoints, metrics and pictures")


def main(argv: Sequence[str]) -> int:
    flags, overrides = parse(argv, TrainFlags)
    config, notes = settings.resolve(settings.load_recipe(flags.config), overrides)
    use_compilation_cache()
    return train(config, Path(flags.workdir), notes, ["experiments.train", *argv])


if __name__ == "__main__":
    run(main)
