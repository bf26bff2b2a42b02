"""Trains a model from a recipe; the same command again continues where it stopped, and can prove it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments import settings
from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.runs.session import train
from experiments.runs.verify_resume import verify
from transformer.schema import Check, at_least, setting


@dataclasses.dataclass(frozen=True)
class TrainFlags:
    """Trains a model from a recipe:

    python -m experiments.train --config=configs/dates.py --workdir=runs/dates

    The same command again continues from the newest checkpoint, and ends with the same bits. To see it proved:

    python -m experiments.train --config=configs/dates.py --verify_resume
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config()")
    workdir: str = setting(REQUIRED, "the directory for checkpoints, metrics and pictures")
    verify_resume: bool = setting(False, "prove that a killed run continues exactly; --verify_resume --help tells more")


@dataclasses.dataclass(frozen=True)
class VerifyFlags:
    """Proves that a run which is killed and goes on ends with the bits of one that never was:

    python -m experiments.train --config=configs/dates.py --verify_resume

    Trains 2n steps at once. The same again is killed (SIGKILL) once its checkpoint of step n is complete, and goes on
    to 2n in another process. Then parameters, optimizer state, averages, seed and step, the next batches, and
    metrics.jsonl (but for the wall times) are compared bit for bit. Exit code 0: the same; 1: not, and what differs
    first is said. All is written to a temporary directory (TMPDIR says where), which is removed.

    Other than in the recipe: training.steps is 2n, evaluations come after n and 2n, lines of metrics every few steps;
    and to be quick, no event files are written, and unless flags say otherwise an evaluation has 64 examples where
    they are generated, and answers of 1 token. An update is the recipe's own.
    """

    config: str = setting(REQUIRED, "the recipe, a Python file with get_config()")
    verify_resume: bool = setting(True, "this", check=Check(bool, "true, or to be left out"))
    verify_steps: int = setting(10, "n, the steps before the kill, and after it", check=at_least(1))
    workdir: str | None = setting(
        None, "not to be given", check=Check(lambda _: False, "none, since --verify_resume trains in a temporary one")
    )


def main(argv: Sequence[str]) -> int:
    verifying = any(word.partition("=")[0] == "--verify_resume" for word in argv)
    flags, overrides = parse(argv, VerifyFlags if verifying else TrainFlags)
    if verifying:
        return verify(flags.config, overrides, flags.verify_steps)
    config, notes = settings.resolve(settings.load_recipe(flags.config), overrides)
    use_compilation_cache()
    return train(config, Path(flags.workdir), notes, ["experiments.train", *argv])


if __name__ == "__main__":
    run(main)
