"""A task from its settings: the class of its row, with the data of a run, or without to answer texts alone.

task.name            task.objective, or the architecture's own    row
text_to_text                                                      of TASKS
classification                                                    of TASKS
language_modelling   causal (with a prefix: prefix), masked,      of OBJECTIVES
                     span, continuation
"""

from collections.abc import Mapping
from typing import Any

from experiments.data.config import DataConfig
from experiments.data.examples import Splits
from experiments.data.sources.table import load, refuse_other_splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.config import TaskConfig, row_of
from experiments.tasks.rows import check_row, loaded
from experiments.tasks.task import Task, TaskSettings
from transformer.tables import Choice


def task_class(config: TaskConfig, architecture: Choice) -> type[Task]:
    """Return the class of a config's task."""
    row = row_of(config, architecture)
    if isinstance(row.task, type):  # of a stored run, whose code may have changed
        check_row(row, f"task {str(row)!r}")
    return loaded(row.prefix if config.bidirectional_prefix and row.prefix is not None else row.task)


def read_examples(settings: TaskSettings, data: DataConfig) -> Splits:
    """Load the examples of the data's source, and transform them as the task does.

    Raises:
        UserError: see `load`; a task from outside that gives something else.
    """
    kind = task_class(settings.config, settings.architecture)
    splits = load(data, settings.seed, kind.kind)
    transformed = kind.transform(splits, settings)
    if transformed is not splits:
        refuse_other_splits(transformed, kind.kind, f"task {str(settings.config.name)!r}")
    return transformed


def build_task(settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Task:
    """Build the task of one run, planned from its data.

    Raises:
        UserError: the data and the settings do not fit each other.
    """
    return task_class(settings.config, settings.architecture).build(settings, splits, tokenizers)


def reopen_task(settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Task:
    """Build the task of an earlier run without its data; it can answer texts."""
    return task_class(settings.config, settings.architecture).reopen(settings, tokenizers, metadata)
