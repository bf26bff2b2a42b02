"""The examples that a source yields: documents, or pairs of texts, in three splits.

TEXT    Document("import os ...", "os.py")
PAIRS   Pair("vendredi 20 novembre 2026", "2026-11-20", "fr")
LABELS  Pair("vendredi 20 novembre 2026", "fr", "fr")               (a label is a pair's target)
"""

import dataclasses
from collections.abc import Callable
from typing import Any

TEXT, PAIRS, LABELS = "text", "pairs", "labels"
"""Kinds of data: documents; a source and a target text; a text and its label. Labels are pairs too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One text to read and the text to write for it, or its label."""

    source: str
    target: str
    group: str = ""
    """Group of the pair, for metrics by group (its locale, for the dates); "" where there are no groups."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A text that is read from its beginning to its end."""

    text: str
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Splits:
    """Examples for training, validation and test; all `Pair`s or all `Document`s."""

    train: list
    validation: list
    test: list
    notes: tuple[str, ...] = ()
    """Remarks on the data for the user, a line each; printed when a run starts."""
    fingerprint: str = ""
    """SHA-256 of all that was read; "" where the config alone decides the data. Stored with the run."""
    ceiling: float | None = None
    """Highest possible accuracy on the test, where texts with several answers keep it below 1."""

    def map(self, function: Callable[[Any], Any]) -> "Splits":
        """Return the splits with a function of each example in its place; what bounded the accuracy may not any more.

        >>> Splits([Pair("a", "bc")], [], []).map(lambda pair: Pair(pair.source, pair.target[::-1])).train[0].target
        'cb'
        """
        parts = ([function(example) for example in part] for part in (self.train, self.validation, self.test))
        return Splits(*parts, self.notes, self.fingerprint)
