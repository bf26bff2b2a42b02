"""The command that writes a trained model's answers to texts of the user: an answer, a continuation, a label."""

import dataclasses
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.cli.texts import read_texts
from experiments.runs.generation import answer_lines, answer_texts
from experiments.runs.open_run import open_run
from transformer.decoding.strategies import RANGES, STRATEGIES
from transformer.schema import a_seed, at_least, not_empty, setting


@dataclasses.dataclass(frozen=True)
class GenerateFlags:
    """Write a model's answers: python -m experiments.generate --workdir=runs/dates --input="20. November 2026"

    Without --input and --file, each line of standard input is one text. A language model continues a text, or fills its
    gaps, each written <mask>; a classifier writes the likeliest labels. A blank line has a blank answer; --input=""
    lets a language model write from its start token.
    """

    workdir: str = setting(REQUIRED, "working directory of the training")
    input: str | None = setting(None, "text to answer; none: the lines of --file or of standard input")
    file: str | None = setting(None, "file with one text a line, plain or .gz; none: standard input", check=not_empty)
    checkpoint: str | None = setting(
        None, "checkpoint to read: best, last or a step; none: the mean by training.average_last, else best"
    )
    average_last: int | None = setting(
        None,
        "number of last checkpoints to average, without --checkpoint; none: training.average_last",
        check=at_least(1),
    )
    max_new_tokens: int | None = setting(
        None, "maximum length of an answer (tokens); none: decoding.max_new_tokens", check=at_least(1)
    )
    strategy: str | None = setting(
        None,
        "decoding strategy; none: sampling where --temperature, --top_k or --top_p is given, else decoding.strategy",
        allowed=STRATEGIES,
    )
    temperature: float | None = setting(
        None, "temperature of sampling; none: decoding.temperature", check=RANGES["temperature"]
    )
    top_k: int | None = setting(
        None, "number of likeliest tokens to sample from; none: decoding.top_k", check=RANGES["top_k"]
    )
    top_p: float | None = setting(
        None, "total probability of the likeliest tokens to sample from; none: decoding.top_p", check=RANGES["top_p"]
    )
    seed: int | None = setting(None, "seed of sampling; none: the run's seed", check=a_seed)
    trust_code: bool = setting(False, "consent to run code that the run's config.json names by a dotted path")


DECODING = ("max_new_tokens", "strategy", "temperature", "top_k", "top_p")
"""Flags that are settings of decoding."""


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, GenerateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, read_data=False, trust_code=flags.trust_code)
    given = {name: value for name in DECODING if (value := getattr(flags, name)) is not None}
    texts = read_texts(flags.input, flags.file)
    answer = answer_lines if flags.input is None else answer_texts
    for text in answer(opened, texts, given, flags.seed):
        print(text)


if __name__ == "__main__":
    run(main)
