"""Settings of section `task`: the task, its objective, and the condition of settings that some tasks read (`tasks`).

    causal        decoder_only            each token from those before it
    masked        encoder_only            hidden tokens from those around them
    span          seq2seq, rnn_seq2seq    hidden spans from what is left
    continuation  every architecture      the second half of a window from the first

are the objectives of language modelling.
"""

import dataclasses

from experiments.tasks.metrics import METRICS
from transformer.errors import problem
from transformer.nn.module_rows import family
from transformer.read_by import Condition
from transformer.schema import above, at_least, setting, share
from transformer.tables import Choice

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")

TASK_NAMES = ("text_to_text", "language_modelling", "classification")
"""Values of `task.name`."""

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "causal": ("decoder_only",),
    "masked": ("encoder_only",),
    "span": ("seq2seq", "rnn_seq2seq"),
    "continuation": ARCHITECTURES,
}
"""Objective -> the architectures that it trains; an architecture's own is the first that trains it."""

PREFIX_READERS = ("decoder_only",)
"""Architectures that can read a prefix both ways while they write from left to right."""

BLEU_TOKENIZERS = ("off", "13a", "none", "char", "intl", "zh")
"""Tokenizers of sacreBLEU that need no other package and no download."""


def objective_of(config: "TaskConfig", architecture: Choice) -> str:
    """Return the objective that a language model of this architecture has.

    Raises:
        UserError: the architecture cannot have the one that the config names.
    """
    like = family(architecture)
    if config.objective is None:
        return next(name for name, architectures in OBJECTIVES.items() if like in architectures)
    trained = OBJECTIVES[config.objective]
    if like not in trained:
        able = [name for name, architectures in OBJECTIVES.items() if like in architectures]
        raise problem(
            f"architecture {str(architecture)!r} cannot be trained by task.objective {config.objective!r}",
            expected=" or ".join(able),
            do=f"task.objective={config.objective} needs model.architecture {' or '.join(trained)}.",
        )
    return config.objective


def tasks(*names: str, objectives: tuple[str, ...] = (), architectures: tuple[str, ...] = ARCHITECTURES) -> Condition:
    """Return the condition of settings that some tasks, objectives of language modelling and architectures read."""
    readers = " or ".join([*names, *(f"objective {objective}" for objective in objectives)])
    some = "" if architectures == ARCHITECTURES else f"{' or '.join(architectures)}, with "

    def holds(config: "TaskConfig", architecture: Choice) -> bool:
        by_objective = config.name == "language_modelling" and objective_of(config, architecture) in objectives
        return family(architecture) in architectures and (config.name in names or by_objective)

    def who(config: "TaskConfig", architecture: Choice) -> str:
        is_modelling = config.name == "language_modelling"
        objective = f" with objective {objective_of(config, architecture)!r}" if is_modelling else ""
        return f"task {config.name!r}{objective} on architecture {str(architecture)!r}"

    return Condition(("task", "model.architecture"), holds, who, some + readers, "Leave it out.")


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """Task, and its objective."""

    name: str = setting("text_to_text", "task to learn", allowed=TASK_NAMES)
    objective: str | None = setting(
        None,
        "objective of language_modelling; none: causal, masked or span by architecture",
        allowed=OBJECTIVES,
        read_by=tasks("language_modelling"),
    )
    context: int = setting(
        256,
        "length of the windows that the text is cut into (tokens)",
        check=at_least(2),
        read_by=tasks("language_modelling"),
    )
    bidirectional_prefix: bool = setting(
        False,
        "decoder_only with attention both ways within the source, or within a prefix of the window",
        read_by=tasks("text_to_text", objectives=("causal", "continuation"), architectures=PREFIX_READERS),
    )
    mask_rate: float = setting(
        0.15,
        "share of the tokens that masked and span predict",
        check=share,
        read_by=tasks(objectives=("masked", "span")),
    )
    mean_span: float = setting(
        3.0, "mean length of a hidden span (tokens)", check=above(1.0, 1e6), read_by=tasks(objectives=("span",))
    )
    segments: bool = setting(
        True,
        "no attention between the documents of one window; false: attention across them",
        read_by=tasks(objectives=("causal", "masked", "span")),
    )
    bleu: str = setting(
        "off",
        "BLEU as a further score, with this tokenizer of sacreBLEU; off: no BLEU",
        allowed=BLEU_TOKENIZERS,
        read_by=tasks("text_to_text"),
    )
    metrics: tuple[Choice, ...] = setting(
        (),
        "further scores: package.module:function of (answers, references), lists of texts, or of predicted labels",
        table=METRICS,
        read_by=tasks("text_to_text", "classification"),
    )
