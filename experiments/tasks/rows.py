"""Tables of tasks and of the objectives of language modelling; both are open to rows from outside.

    class Backwards(TextToText):                             a task: a subclass of one of the project's
        @classmethod
        def transform(cls, splits, settings):                its examples, before tokenizers are fitted to them
            return splits.map(lambda pair: Pair(pair.source, pair.target[::-1]))

    class Later(Causal):                                     an objective: a subclass of one of the project's
        objective = "later"                                  the beginning of the names of its scores
        def make_batch(self, stream, rows, rng, *, evaluating=False): ...

    --config.task.name=my_lab.tasks:Backwards    --config.task.objective=my_lab.tasks:Later

A row is made of the class alone; one with settings of its own is `TaskRow(Backwards, settings=Settings)`, and the class
reads them as `settings.own`. The project's own classes are imported when a task is built.
"""

import dataclasses
from typing import Any, ClassVar, get_origin

from transformer.errors import look_up, problem, shorten, unknown
from transformer.tables import Row, Table

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")
"""Families of architectures, see `transformer.nn.module_rows.STRUCTURES`."""

PREFIX_READERS = ("decoder_only",)
"""Architectures that can read a prefix both ways while they write from left to right."""


@dataclasses.dataclass(frozen=True, eq=False)
class TaskRow(Row):
    """A row of TASKS or of OBJECTIVES.

    Attributes:
        task: subclass of `experiments.tasks.task.Task`; of the project's own rows its path; None: that of the row of
            OBJECTIVES which task.objective names.
        like: the built-in task or objective whose settings are read; None: that of which `task` is a subclass.
        architectures: those that it trains, and those like them; None: those of the row that it is like.
        prefix: class, or its path, in the place of `task` where task.bidirectional_prefix is set; None: the setting is
            not read, unless `task` is a subclass of a class that reads it.
    """

    task: type[Any] | str | None
    like: str | None = None
    architectures: tuple[str, ...] | None = None
    prefix: type[Any] | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.task, type):
            return
        parents = (row for row in BUILT_IN.values() if issubclass(self.task, loaded(row.task)))
        parent = next(parents, TaskRow(None, architectures=ARCHITECTURES))
        if self.like is None:
            object.__setattr__(self, "like", parent.like)
        if self.architectures is None:
            object.__setattr__(self, "architectures", parent.architectures)
        if self.prefix is None and parent.task is not None and parent.prefix == parent.task:
            object.__setattr__(self, "prefix", self.task)

    def trains(self, family: str) -> bool:
        """Return whether it trains the architectures of a family."""
        return family in (self.architectures or ())


def loaded(task: type[Any] | str | None) -> type[Any]:
    """Return a class that may be given by its path."""
    kind: type[Any] = look_up("task", {}, task) if isinstance(task, str) else task
    return kind


TEXT_TO_TEXT = "experiments.tasks.text_to_text:TextToText"
CLASSIFICATION = "experiments.tasks.classification:Classification"
CONTINUATION = "experiments.tasks.continuation:Continuation"
CAUSAL, PREFIX, MASKED, SPAN = (
    f"experiments.tasks.objectives:{name}" for name in ("Causal", "Prefix", "Masked", "Span")
)

TASK_ROWS = {
    "text_to_text": TaskRow(TEXT_TO_TEXT, "text_to_text", ARCHITECTURES, prefix=TEXT_TO_TEXT),
    "language_modelling": TaskRow(None, "language_modelling", ARCHITECTURES),
    "classification": TaskRow(CLASSIFICATION, "classification", ARCHITECTURES),
}
"""The project's own rows of TASKS."""

OBJECTIVE_ROWS = {
    "causal": TaskRow(CAUSAL, "causal", ("decoder_only",), prefix=PREFIX),
    "masked": TaskRow(MASKED, "masked", ("encoder_only",)),
    "span": TaskRow(SPAN, "span", ("seq2seq", "rnn_seq2seq")),
    "continuation": TaskRow(CONTINUATION, "continuation", ARCHITECTURES, prefix=CONTINUATION),
}
"""The project's own rows of OBJECTIVES; an architecture's own is the first that trains it."""

BUILT_IN = {name: row for name, row in (TASK_ROWS | OBJECTIVE_ROWS).items() if row.task is not None}
"""The project's own rows that have a class."""


def check_row(row: TaskRow, what: str) -> None:
    """Check a row from outside: a class of a task without anything left open, like a built-in one.

    Raises:
        UserError: it is none.
    """
    if not isinstance(row.task, type) or not issubclass(row.task, loaded("experiments.tasks.task:Task")):
        raise problem(f"{what} is no task", got=shorten(repr(row.task)), expected=TASKS.expected)
    if lacking := sorted({*getattr(row.task, "__abstractmethods__", ()), *_unset(row.task)}):
        raise problem(f"{what} lacks {', '.join(lacking)}", expected=TASKS.expected)
    if row.like is None:
        do = f'Give the one whose settings it reads: TaskRow({row.task.__name__}, like="text_to_text").'
        raise problem(f"{what} is like none of the built-in tasks", expected=", ".join(BUILT_IN), do=do)
    if row.like not in TASK_ROWS | OBJECTIVE_ROWS:
        raise unknown(f"`like` of {what}", str(row.like), TASK_ROWS | OBJECTIVE_ROWS)
    for name in row.architectures or ():
        if name not in ARCHITECTURES:
            raise unknown(f"architecture of {what}", str(name), ARCHITECTURES)


def _check_objective(row: TaskRow, what: str) -> None:
    check_row(row, what)
    if row.like not in OBJECTIVE_ROWS:
        expected = f"a class that is like {' or '.join(OBJECTIVE_ROWS)}"
        do = "Set it as task.name."
        raise problem(
            f"{what} is no objective of language modelling", got=f"one like {row.like}", expected=expected, do=do
        )


def _unset(task: type[Any]) -> list[str]:
    """Return the class attributes that a class declares and does not have."""
    hints = {name: hint for kind in task.__mro__ for name, hint in vars(kind).get("__annotations__", {}).items()}
    return [name for name, hint in hints.items() if get_origin(hint) is ClassVar and not hasattr(task, name)]


TASKS = Table(
    "task",
    TaskRow,
    TASK_ROWS,
    make=TaskRow,
    expected="a subclass of experiments.tasks.task.Task, such as one of TextToText, or an"
    " experiments.tasks.rows.TaskRow",
    check=check_row,
)

OBJECTIVES = Table(
    "objective",
    TaskRow,
    OBJECTIVE_ROWS,
    make=TaskRow,
    expected="a subclass of an objective's class, such as experiments.tasks.objectives.Causal, or an"
    " experiments.tasks.rows.TaskRow",
    check=_check_objective,
)
