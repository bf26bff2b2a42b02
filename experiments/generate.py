"""Writes what a trained model says to texts of the user's own: an answer, a continuation, a label."""

import dataclasses
import sys
from collections.abc import Sequence

from experiments.cli.compilation import use_compilation_cache
from experiments.cli.flags import REQUIRED, parse, run
from experiments.data.sources.reading import File, read_file
from experiments.runs.open_run import Run, labels_in_words, open_run
from transformer.decoding import DecodingConfig
from transformer.decoding.strategies import STRATEGIES, probability, settings_of
from transformer.errors import problem
from transformer.schema import above, at_least, setting


@dataclasses.dataclass(frozen=True)
class GenerateFlags:
    """Writes a model's answers: python -m experiments.generate --workdir=runs/dates --input="20. November 2026"

    Without --input and --file, each line of standard input is one text. A language model continues a text, or fills its
    gaps, each written <mask>; a classifier says the likeliest labels.
    """

    workdir: str = setting(REQUIRED, "the directory that the model was trained in")
    input: str | None = setting(None, "the text; none: the lines of --file or of standard input")
    file: str | None = setting(None, "a file with one text a line, plain or .gz")
    checkpoint: str = setting("best", "best, last or a step")
    average_last: int | None = setting(
        None, "the mean of so many last checkpoints instead; none: training.average_last", check=at_least(1)
    )
    max_new_tokens: int | None = setting(None, "most tokens written; none: decoding.max_new_tokens", check=at_least(1))
    strategy: str | None = setting(None, "none: decoding.strategy", allowed=STRATEGIES)
    temperature: float | None = setting(None, "of sampling; none: decoding.temperature", check=above(0.0))
    top_k: int | None = setting(None, "of sampling; none: decoding.top_k", check=at_least(1))
    top_p: float | None = setting(None, "of sampling; none: decoding.top_p", check=probability)
    seed: int | None = setting(None, "of what is drawn; none: the run's", check=at_least(0))


def main(argv: Sequence[str]) -> None:
    flags, _ = parse(argv, GenerateFlags, overridable=False)
    use_compilation_cache()
    opened = open_run(flags.workdir, flags.checkpoint, flags.average_last, read_data=False)
    texts = texts_of(flags)
    task, decoding = opened.experiment.task, decoding_of(flags, opened)
    opened.check(texts, decoding.max_new_tokens)
    if task.classes is not None:
        said = opened.evaluation().probabilities(opened.params, texts)
        answers = [labels_in_words(task.classes, row) for row in said]
    else:
        ids = opened.answers(texts, decoding, flags.seed)
        answers = [task.answer(text, row) for text, row in zip(texts, ids, strict=True)]
    for answer in answers:  # a model of bytes can write what is no text
        print(answer.encode("utf-8", "replace").decode("utf-8"))


def decoding_of(flags: GenerateFlags, opened: Run) -> DecodingConfig:
    """The run's settings of decoding with those of the flags; what only sampling reads asks for it."""
    names = ("max_new_tokens", "strategy", "temperature", "top_k", "top_p")
    given = {name: value for name in names if (value := getattr(flags, name)) is not None}
    seeded = ["seed"] if flags.seed is not None else []
    if opened.experiment.task.classes is not None and (writing := [*given, *seeded]):
        raise problem(f"--{writing[0]} is not read by a classifier, which writes no text", do="Leave it out.")
    decoding = dataclasses.replace(opened.experiment.config.decoding, **given)
    drawn = [name for name in given if name in settings_of(STRATEGIES["sampling"])]
    if drawn and "strategy" not in given:
        decoding = dataclasses.replace(decoding, strategy="sampling")
    row = STRATEGIES[decoding.strategy]
    unread = [name for name in drawn if name not in settings_of(row)] + ([] if row.random else seeded)
    if unread:
        raise problem(
            f"--{unread[0]} is not read by --strategy={decoding.strategy}", do="Leave it out, or sample instead."
        )
    task, most = opened.experiment.task, decoding.max_new_tokens
    if most is not None and task.fixed_answer_length and most > task.max_answer_length:
        raise problem(
            "--max_new_tokens is more than the slots that this model fills",
            got=most,
            expected=f"at most {task.max_answer_length}",
        )
    return decoding


def texts_of(flags: GenerateFlags) -> list[str]:
    """The texts of the flags, or of standard input."""
    if flags.input is not None and flags.file is not None:
        raise problem("--input and --file are both given", do="Give one of them.")
    if flags.input is not None:
        return [flags.input]
    if flags.file is not None:
        return read_file(flags.file, "--file").lines()
    return read_lines()


def read_lines() -> list[str]:
    """The lines of standard input, without their ends."""
    if sys.stdin.isatty():
        print("one text a line, then Ctrl-D", file=sys.stderr)
    try:
        texts = File("", "standard input", sys.stdin.read().replace("\r\n", "\n")).lines()
    except UnicodeDecodeError as error:
        raise problem(f"standard input is not UTF-8: {error}", do="Convert it, with iconv for instance.") from error
    if not texts:
        raise problem("there is nothing to read", do="Give --input=TEXT, --file=PATH, or lines on standard input.")
    return texts


if __name__ == "__main__":
    run(main)
