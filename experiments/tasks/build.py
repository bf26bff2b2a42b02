"""From a config's name of a task to the task: one row of TASKS for each."""

from collections.abc import Mapping
from typing import Any

from experiments.data.examples import Splits
from experiments.data.sides import Sides
from experiments.tasks.classification import Classification
from experiments.tasks.config import TaskConfig, objective_of
from experiments.tasks.continuation import Continuation
from experiments.tasks.language_modelling import LanguageModelling
from experiments.tasks.task import Posing, Task
from experiments.tasks.text_to_text import TextToText

TASKS: dict[str, type[Task]] = {
    "text_to_text": TextToText,
    "language_modelling": LanguageModelling,
    "continuation": Continuation,
    "classification": Classification,
}
"""Name -> class with `kind` (of data), `texts` (that tokenizers are fitted to), `build` and `reopen`.

The continuation of text is an objective of language modelling; it has a row of its own since it is posed as pairs are.
"""


def row(config: TaskConfig, architecture: str) -> type[Task]:
    """The class of a config's task."""
    if config.name == "language_modelling" and objective_of(config, architecture) == "continuation":
        return TASKS["continuation"]
    return TASKS[config.name]


def build_task(posing: Posing, splits: Splits, sides: Sides) -> Task:
    """The task of one run, planned from its data.

    Raises:
        UserError: the data and the settings do not fit each other.
    """
    return row(posing.config, posing.architecture).build(posing, splits, sides)


def reopen_task(posing: Posing, sides: Sides, facts: Mapping[str, Any]) -> Task:
    """The task of an earlier run without its data, which can answer texts."""
    return row(posing.config, posing.architecture).reopen(posing, sides, facts)
