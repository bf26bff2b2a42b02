"""The command that writes a trained model's answers to texts of the user: an answer, a continuation, a label."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.cli.run_flags import DecodingFlags
from experiments.cli.texts import read_texts
from experiments.runs.generation import answer_lines, answer_texts
from experiments.runs.open_run import open_run
from transformer.schema import a_seed, not_empty, setting


@dataclasses.dataclass(frozen=True)
class GenerateFlags(DecodingFlags):
    """Write a model's answers: python -m experiments.generate --workdir=runs/dates --input="20. November 2026"

    Without --input and --file, each line of standard input is one text. A language model continues a text, or fills its
    gaps, each written <mask>; a classifier writes the likeliest labels. A blank line has a blank answer; --input=""
    lets a language model write from its start token.
    """

    input: str | None = setting(None, "text to answer; none: the lines of --file or of standard input")
    file: str | None = setting(None, "file with one text a line, plain or .gz; none: standard input", check=not_empty)
    seed: int | None = setting(None, "seed of sampling; none: the run's seed", check=a_seed)


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, GenerateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, read_data=False, trust_code=flags.trust_code)
    texts = read_texts(flags.input, flags.file)
    answer = answer_lines if flags.input is None else answer_texts
    for text in answer(opened, texts, flags.given, flags.seed):
        print(text)


if __name__ == "__main__":
    run(main)
