"""Settings of section `task`: the task, its objective, and the settings that each of them reads.

    causal        decoder_only            each token from those before it
    masked        encoder_only            hidden tokens from those around them
    span          seq2seq, rnn_seq2seq    hidden spans from what is left
    continuation  every architecture      the second half of a window from the first

are the objectives of language modelling. A setting that a task or an architecture does not read is refused (`unread`).
"""

import dataclasses
from collections.abc import Iterable, Mapping

from transformer.errors import UserError, problem
from transformer.schema import Check, above, at_least, setting, within

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")


@dataclasses.dataclass(frozen=True)
class Objective:
    """Objective by which a language model learns from plain text.

    Attributes:
        reads: settings that it reads, beside those of every language model.
    """

    architectures: tuple[str, ...]
    reads: frozenset[str]


PREFIX = "task.bidirectional_prefix"
LENGTHS = frozenset({"data.num_buckets", "data.length_multiple", "data.too_long"})
"""Settings that are read where examples have lengths of their own; windows of a stream have one."""

OBJECTIVES: dict[str, Objective] = {
    "causal": Objective(("decoder_only",), frozenset({PREFIX, "task.segments"})),
    "masked": Objective(("encoder_only",), frozenset({"task.mask_rate", "task.segments"})),
    "span": Objective(("seq2seq", "rnn_seq2seq"), frozenset({"task.mask_rate", "task.mean_span", "task.segments"})),
    "continuation": Objective(ARCHITECTURES, frozenset({PREFIX}) | LENGTHS),
}
"""Name -> row; an architecture's own objective is the first row that has it."""

READS: dict[str, frozenset[str]] = {
    "text_to_text": frozenset(
        {PREFIX, "task.bleu", "decoding", "data.files.source_field", "data.files.target_field"} | LENGTHS
    ),
    "language_modelling": frozenset({"task.objective", "task.context", "decoding", "data.files.text_field"}),
    "classification": frozenset({"model.class_head", "data.files.text_field", "data.files.label_field"} | LENGTHS),
}
"""Task -> the settings and sections that it reads, of those that not every task reads.

A language model reads those of its objective too.
"""

PREFIX_READERS = ("decoder_only",)
"""Architectures that can read a prefix both ways while they write from left to right."""

BLEU_TOKENIZERS = ("off", "13a", "none", "char", "intl", "zh")
"""Tokenizers of sacreBLEU that need no other package and no download."""

share = Check(lambda value: 0.0 < value < 1.0, "a number above 0 and below 1")


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """Task, and its objective."""

    name: str = setting("text_to_text", "task to learn", allowed=READS)
    objective: str | None = setting(
        None, "objective of language_modelling; none: causal, masked or span by architecture", allowed=OBJECTIVES
    )
    context: int = setting(256, "window of language_modelling (tokens)", check=at_least(2))
    bidirectional_prefix: bool = setting(
        False, "decoder_only with attention both ways within the source, or within a prefix of the window"
    )
    mask_rate: float = setting(0.15, "share of the tokens that masked and span predict", check=share)
    mean_span: float = setting(3.0, "mean length of a hidden span (tokens)", check=above(1.0))
    segments: bool = setting(True, "no attention between documents packed into one window")
    bleu: str = setting(
        "off",
        "tokenizer of sacreBLEU for BLEU as a score of text_to_text; off: no BLEU",
        allowed=BLEU_TOKENIZERS,
    )


def objective_of(config: TaskConfig, architecture: str) -> str:
    """Return the objective that a language model of this architecture has.

    Raises:
        UserError: the architecture cannot have the one that the config names.
    """
    if config.objective is None:
        return next(name for name, row in OBJECTIVES.items() if architecture in row.architectures)
    row = OBJECTIVES[config.objective]
    if architecture not in row.architectures:
        able = [name for name, other in OBJECTIVES.items() if architecture in other.architectures]
        raise problem(
            f"architecture {architecture!r} cannot be trained by task.objective {config.objective!r}",
            expected=" or ".join(able),
            do=f"task.objective={config.objective} needs model.architecture {' or '.join(row.architectures)}.",
        )
    return config.objective


def unread(config: TaskConfig, architecture: str, names: Iterable[str]) -> Mapping[str, UserError]:
    """Find the settings among `names` that other tasks read, and this one on this architecture does not.

    Args:
        names: full names, such as "task.bleu".

    Returns:
        Name -> the error for a config that sets it.
    """
    read = READS[config.name]
    where = f"task {config.name!r}"
    if config.name == "language_modelling":
        objective = objective_of(config, architecture)
        read = read | OBJECTIVES[objective].reads
        where += f" with objective {objective!r}"
    if architecture not in PREFIX_READERS:
        read = read - {PREFIX}
    some_read = frozenset().union(*READS.values(), *(row.reads for row in OBJECTIVES.values()))
    return {
        name: _not_read(name, where, architecture)
        for name in names
        if within(name, some_read) and not within(name, read)
    }


def _not_read(name: str, where: str, architecture: str) -> UserError:
    tasks = [task for task, names in READS.items() if within(name, names)]
    objectives = [f"objective {objective}" for objective, row in OBJECTIVES.items() if within(name, row.reads)]
    readers = " or ".join([*tasks, *objectives])
    if name == PREFIX:
        readers = f"{' or '.join(PREFIX_READERS)}, with {readers}"
    return problem(
        f"{name} is not read by {where} on architecture {architecture!r}",
        expected=f"it only with {readers}",
        do="Leave it out.",
    )
