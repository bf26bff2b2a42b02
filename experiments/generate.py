"""The command that writes a trained model's answers to texts of the user: an answer, a continuation, a label."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import parse, run
from experiments.cli.run_flags import DecodingFlags
from experiments.cli.texts import read_texts
from experiments.runs.answering import print_answer, print_answers, refuse_output, write_answers
from experiments.runs.generation import prepare
from experiments.runs.open_run import open_run
from transformer.errors import problem
from transformer.schema import a_seed, at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class GenerateFlags(DecodingFlags):
    """Write a model's answers: python -m experiments.generate --workdir=runs/dates --input="20. November 2026"

    Without --input and --file, each line of standard input is one text. A language model continues a text, or fills its
    gaps, each written <mask>; a classifier writes the likeliest labels. A blank line has a blank answer; --input=""
    lets a language model write from its start token.

    The answer to --input is printed token by token, unless a beam searches for it or it fills gaps. Texts are padded to
    16, 32, 64, ... tokens and answered 1, 4, 16, 64 or 256 at a time, so that few programs compile.
    """

    input: str | None = setting(None, "text to answer; none: the lines of --file or of standard input")
    file: str | None = setting(None, "file with one text a line, plain or .gz; none: standard input", check=not_empty)
    output: str | None = setting(
        None,
        "path of a JSONL file for texts, answers and scores (nats), which must not be there yet; none: the answers go"
        " to standard output",
        check=not_empty,
    )
    num_return: int | None = setting(
        None, "number of answers of a beam to each text in --output, the best first; none: 1", check=at_least(1)
    )
    seed: int | None = setting(None, "seed of sampling; none: the run's seed", check=a_seed)


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, GenerateFlags, overridable=False)
    if flags.num_return is not None and flags.output is None:
        what, do = "--num_return is not read without --output", "Give --output=PATH, or leave it out."
        raise problem(what, got=flags.num_return, do=do)
    refuse_output(flags.output)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, read_data=False, trust_code=flags.trust_code)
    texts, lines = read_texts(flags.input, flags.file), flags.input is None
    asked = prepare(opened, texts, flags.given, flags.seed, num_return=flags.num_return, lines=lines)
    if flags.output is not None:
        write_answers(opened, texts, asked, flags.output)
        print(f"answers: {flags.output}")
    elif lines:
        print_answers(opened, texts, asked)
    else:
        print_answer(opened, asked)


if __name__ == "__main__":
    run(main)
