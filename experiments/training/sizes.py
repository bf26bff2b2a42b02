"""Sizes that follow the data: a rule from the amount of training text to settings.

    words w     characters of the training texts / 5
    epochs      20, from 500 to 5,000 steps; text without pairs is read window by window
    window      its tokens, of one character each with characters and bytes, else of 5

    words          width D   heads   layers   dropout
    below 20,000   64        2       2        0.2
    below 2e6      128       4       2        0.1
    from 2e6 on    256       8       4        0.1

    vocabulary     of BPE: w / 200, from 500 to 8,000
    warm-up        a tenth of the steps; evaluations: ten

A recipe asks for the rule by `sizes_from_data`. A flag for one of these settings takes the place of the rule.
So does the stored config of a run that goes on.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.data.examples import Document, Splits
from experiments.tasks.build import read_examples
from experiments.training.experiment import task_settings

EPOCHS = 20
"""Number of times that the training examples are read."""
FEWEST_STEPS, MOST_STEPS = 500, 5000
ROWS = ((20_000, 64, 2, 0.2), (2_000_000, 128, 2, 0.1), (float("inf"), 256, 4, 0.1))
"""Words below which a row counts, width, layers and dropout."""
HEAD_WIDTH = 32
CHARACTERS = 5
"""Characters of a word, and of a token of words or subwords."""
SINGLE = ("characters", "bytes")
"""Tokenizers whose tokens are single characters."""


class DataSizes(NamedTuple):
    """The amount of the training data.

    Attributes:
        examples: number of pairs, of labelled texts, or of windows of a text.
        characters: of all texts, answers among them.
    """

    examples: int
    characters: int

    @property
    def words(self) -> float:
        """About the number of words."""
        return self.characters / CHARACTERS


def measure(splits: Splits, window: int) -> DataSizes:
    """Measure the training split.

    Args:
        window: characters of a window of a text without pairs.
    """
    if isinstance(splits.train[0], Document):
        characters = sum(len(document.text) for document in splits.train)
        return DataSizes(max(characters // window, 1), characters)
    return DataSizes(len(splits.train), sum(len(pair.source) + len(pair.target) for pair in splits.train))


def chosen(sizes: DataSizes, batch: int, *, subwords: bool, steps: int | None = None) -> dict[str, Any]:
    """Choose sizes by the table of this module; full name of a setting -> value.

    Args:
        batch: examples per update.
        subwords: whether tokens are subwords, whose vocabulary is learned.
        steps: number of updates that warm-up and evaluations follow; None: the rule's own.
    """
    _, width, layers, dropout = next(row for row in ROWS if sizes.words < row[0])
    steps = steps or min(max(hundreds(EPOCHS * sizes.examples / batch), FEWEST_STEPS), MOST_STEPS)
    return {
        "model.width": width,
        "model.num_heads": width // HEAD_WIDTH,
        "model.num_layers": layers,
        "model.dropout": dropout,
        **({"tokenizer.vocab_size": min(max(hundreds(sizes.words / 200), 500), 8000)} if subwords else {}),
        "training.steps": steps,
        "training.output.evaluate_every": max(steps // 10, 1),
        "optimizer.warmup_steps": steps // 10,
    }


def sizes_of(config: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Read the training data of a config; return the sizes that the rule chooses, and the amount of data in words.

    Examples held out by chance are those of seed 0, so that all seeds of a sweep have the same sizes.

    Args:
        given: settings that are given in place of the rule's: full name -> value.

    Raises:
        UserError: the data cannot be read.
    """
    name = str(config.tokenizer.name)
    window = config.task.context * (1 if name in SINGLE else CHARACTERS)
    found = measure(read_examples(dataclasses.replace(task_settings(config), seed=0), config.data), window)
    amount = f"{found.examples:,} examples, {found.characters:,} characters"
    steps = given.get("training.steps")
    return chosen(found, config.training.batch_size, subwords=name == "bpe", steps=steps), amount


def hundreds(value: float) -> int:
    """Round to whole hundreds."""
    return 100 * round(value / 100)
