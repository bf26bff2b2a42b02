"""The table of tasks: one row of TASKS for each, by the name in a config.

task.name            task.objective, or the architecture's own    row
text_to_text                                                      text_to_text
classification                                                    classification
language_modelling   causal (with a prefix: prefix), masked,      the objective's
                     span, continuation
"""

from collections.abc import Mapping
from typing import Any

from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.classification import Classification
from experiments.tasks.config import TaskConfig, objective_of
from experiments.tasks.continuation import Continuation
from experiments.tasks.objectives import Causal, Masked, Prefix, Span
from experiments.tasks.task import Task, TaskSettings
from experiments.tasks.text_to_text import TextToText
from transformer.tables import Choice

TASKS: dict[str, type[Task]] = {
    "text_to_text": TextToText,
    "classification": Classification,
    "causal": Causal,
    "prefix": Prefix,
    "masked": Masked,
    "span": Span,
    "continuation": Continuation,
}
"""Name -> subclass of Task with `kind` (of data), `texts` (to which tokenizers are fitted), `build` and `reopen`.

Language modelling has a row for each of its objectives, and `prefix` for a setting of the causal one.
"""


def row(config: TaskConfig, architecture: Choice) -> type[Task]:
    """Return the class of a config's task."""
    if config.name != "language_modelling":
        return TASKS[config.name]
    name = objective_of(config, architecture)
    return TASKS["prefix" if name == "causal" and config.bidirectional_prefix else name]


def build_task(settings: TaskSettings, splits: Splits, tokenizers: TokenizerPair) -> Task:
    """Build the task of one run, planned from its data.

    Raises:
        UserError: the data and the settings do not fit each other.
    """
    return row(settings.config, settings.architecture).build(settings, splits, tokenizers)


def reopen_task(settings: TaskSettings, tokenizers: TokenizerPair, metadata: Mapping[str, Any]) -> Task:
    """Build the task of an earlier run without its data; it can answer texts."""
    return row(settings.config, settings.architecture).reopen(settings, tokenizers, metadata)
