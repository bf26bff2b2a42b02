"""Settings of section `task`: the task, its objective, and the condition of settings that some tasks read (`tasks`).

    causal        decoder_only            each token from those before it
    masked        encoder_only            hidden tokens from those around them
    span          seq2seq, rnn_seq2seq    hidden spans from what is left
    continuation  every architecture      the second half of a window from the first

are the objectives of language modelling.
"""

import dataclasses
from collections.abc import Callable

from experiments.tasks.metrics import METRICS
from experiments.tasks.rows import ARCHITECTURES, OBJECTIVE_ROWS, OBJECTIVES, PREFIX_READERS, TASKS, TaskRow
from transformer.errors import UserError, problem
from transformer.nn.module_rows import family
from transformer.read_by import Condition
from transformer.schema import above, at_least, setting, share
from transformer.tables import Choice, Table

BLEU_TOKENIZERS = ("off", "13a", "none", "char", "intl", "zh")
"""Tokenizers of sacreBLEU that need no other package and no download."""


def objective_of(config: "TaskConfig", architecture: Choice) -> Choice:
    """Return the objective that a language model of this architecture has.

    Raises:
        UserError: the architecture cannot have the one that the config names.
    """
    like = family(architecture)
    if config.objective is None:
        return next(name for name, row in OBJECTIVES.items() if row.trains(like))
    if not OBJECTIVES.find(config.objective, "task.objective").trains(like):
        raise _not_trained(OBJECTIVES, "task.objective", config.objective, architecture)
    return config.objective


def row_of(config: "TaskConfig", architecture: Choice) -> TaskRow:
    """Return the row of a config's task, of language modelling that of its objective, with its own settings.

    Raises:
        UserError: it does not train this architecture.
    """
    if TASKS.find(config.name, "task.name").task is None:
        config = dataclasses.replace(config, objective=objective_of(config, architecture))
        return OBJECTIVES.of(config, "objective")
    row = TASKS.of(config, "name")
    if not row.trains(family(architecture)):
        raise _not_trained(TASKS, "task.name", config.name, architecture)
    return row


def _not_trained(table: Table[TaskRow], setting: str, choice: Choice, architecture: Choice) -> UserError:
    """Build the error for a task or an objective that does not train an architecture."""
    able = [name for name, row in table.items() if row.trains(family(architecture))]
    trained = table.find(choice, setting).architectures or ()
    return problem(
        f"architecture {str(architecture)!r} cannot be trained by {setting} {str(choice)!r}",
        expected=" or ".join(able),
        do=f"{setting}={choice} needs model.architecture {' or '.join(trained)}.",
    )


def tasks(*names: str, objectives: tuple[str, ...] = (), architectures: tuple[str, ...] = ARCHITECTURES) -> Condition:
    """Return the condition of settings that some tasks, objectives of language modelling and architectures read.

    Tasks, objectives and architectures from outside read what those read which they are like.
    """
    readers = " or ".join([*names, *(f"objective {objective}" for objective in objectives)])
    some = "" if architectures == ARCHITECTURES else f"{' or '.join(architectures)}, with "
    likes = {*names, *objectives, *(OBJECTIVE_ROWS if "language_modelling" in names else ())}

    def holds(config: "TaskConfig", architecture: Choice) -> bool:
        return family(architecture) in architectures and row_of(config, architecture).like in likes

    return Condition(("task", "model.architecture"), holds, _who, some + readers, "Leave it out.")


def _who(config: "TaskConfig", architecture: Choice) -> str:
    by_objective = TASKS.find(config.name).task is None
    objective = f" with objective {str(objective_of(config, architecture))!r}" if by_objective else ""
    return f"task {str(config.name)!r}{objective} on architecture {str(architecture)!r}"


def _where(holds: Callable[[TaskRow], bool], condition: Condition) -> Condition:
    """Return a condition that holds for rows alone of which a function is true."""

    def both(config: "TaskConfig", architecture: Choice) -> bool:
        return condition.holds(config, architecture) and holds(row_of(config, architecture))

    return dataclasses.replace(condition, holds=both)


BY_OBJECTIVE = dataclasses.replace(
    tasks("language_modelling"), holds=lambda config, architecture: TASKS.find(config.name).task is None
)
"""Condition of the setting that names the objective."""

BEHIND_PREFIX = _where(
    lambda row: row.prefix is not None,
    tasks("text_to_text", objectives=("causal", "continuation"), architectures=PREFIX_READERS),
)
"""Condition of attention both ways within a prefix."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """Task, and its objective."""

    name: Choice = setting("text_to_text", "task to learn", table=TASKS)
    objective: Choice | None = setting(
        None,
        "objective of language_modelling; none: causal, masked or span by architecture",
        table=OBJECTIVES,
        read_by=BY_OBJECTIVE,
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
        read_by=BEHIND_PREFIX,
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
        "BLEU, with this tokenizer of sacreBLEU, and chrF as further scores; off: neither",
        allowed=BLEU_TOKENIZERS,
        read_by=tasks("text_to_text"),
    )
    metrics: tuple[Choice, ...] = setting(
        (),
        "further scores: package.module:function of (answers, references), lists of texts, or of predicted labels",
        table=METRICS,
        read_by=tasks("text_to_text", "classification"),
    )
