"""What a source yields: documents, or pairs of texts, in three splits."""

import dataclasses

TEXT, PAIRS, LABELS = "text", "pairs", "labels"
"""The kinds of data: documents; a source and a target text; a text and its label. Labels are pairs too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One text to read and the text to write for it, or its label."""

    source: str
    target: str
    group: str = ""
    """What the pair belongs to, for metrics by group (a locale, for the dates); "" where there are no groups."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A text that is read from its beginning to its end."""

    text: str
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples to learn from, to choose by, and to report on; all `Pair`s or all `Document`s."""

    train: list
    validation: list
    test: list
    notes: tuple[str, ...] = ()
    """What a person should know of the data, a line each; printed when a run starts."""
    fingerprint: str = ""
    """SHA-256 of all that was read; "" where the config alone decides the data. Stored with the run."""
    ceiling: float | None = None
    """The highest share of the test's examples that can be right, where texts with several answers bound it below 1."""
