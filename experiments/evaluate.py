"""The command that evaluates a trained model on a split: metrics, BLEU with its signature, confusions, mistakes."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.data.config import PATHS
from experiments.runs.open_run import open_run
from experiments.runs.scores import print_scores
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Evaluate a trained model: python -m experiments.evaluate --workdir=runs/dates

    Where the data has moved, --config.data.path=PATH names its new place.
    """

    workdir: str = setting(REQUIRED, "working directory of the training")
    split: str | None = setting(
        None, "split to evaluate; none: test, or validation without one", allowed=("train", "validation", "test")
    )
    checkpoint: str | None = setting(
        None, "checkpoint to read: best, last or a step; none: the mean by training.average_last, else best"
    )
    average_last: int | None = setting(
        None,
        "number of last checkpoints to average, without --checkpoint; none: training.average_last",
        check=at_least(1),
    )
    examples: int | None = setting(None, "number of examples, the first of the split; none: all", check=at_least(1))
    mistakes: int | None = setting(
        None, "number of mistakes to print, of a model that writes answers or labels; none: 5", check=at_least(0)
    )
    trust_code: bool = setting(False, "consent to run code that the run's config.json names by a dotted path")


def main(argv: Sequence[str]) -> None:
    flags, paths = parse(argv, EvaluateFlags, overridable=PATHS)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, trust_code=flags.trust_code, paths=paths)
    print_scores(opened, flags.split, flags.examples, flags.mistakes)


if __name__ == "__main__":
    run(main)
