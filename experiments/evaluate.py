"""The command that evaluates a trained model on a split: metrics, sacreBLEU's signatures, confusions, mistakes."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.cli.run_flags import DecodingFlags
from experiments.cli.table_output import write_table
from experiments.data.config import PATHS
from experiments.runs.generation import with_decoding
from experiments.runs.open_run import open_run
from experiments.runs.predictions import Predictions
from experiments.runs.scores import Files, print_scores
from experiments.storage.table_files import MEANING, TableFile
from transformer.schema import at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class EvaluateFlags(DecodingFlags):
    """Evaluate a trained model: python -m experiments.evaluate --workdir=runs/dates

    Where the data has moved, --config.data.path=PATH names its new place. The answers that are scored are written by
    the run's settings of decoding, unless a flag gives another.
    """

    split: str | None = setting(
        None, "split to evaluate; none: test, or validation without one", allowed=("train", "validation", "test")
    )
    examples: int | None = setting(None, "number of examples, the first of the split; none: all", check=at_least(1))
    mistakes: int | None = setting(
        None, "number of mistakes to print, of a model that writes answers or labels; none: 5", check=at_least(0)
    )
    output: str | None = setting(None, MEANING, check=not_empty)
    predictions: str | None = setting(
        None,
        "file (.jsonl) of a line for each example: input, reference, answer, scores, probabilities of labels; none:"
        " no file",
        check=not_empty,
    )


def main(argv: Sequence[str]) -> None:
    flags, paths = parse(argv, EvaluateFlags, overridable=PATHS)
    table, predictions = TableFile(flags.output), Predictions(flags.predictions)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, trust_code=flags.trust_code, paths=paths)
    files = Files(bool(table), predictions)
    found = print_scores(with_decoding(opened, flags.given), flags.split, flags.examples, flags.mistakes, files)
    write_table(table, found, "evaluate", argv)


if __name__ == "__main__":
    run(main)
