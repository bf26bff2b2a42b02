"""What a source of text pairs yields."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One text to read and the text to write for it."""

    source: str
    target: str
    group: str
    """What the pair belongs to, for metrics by group (a locale, for the dates)."""


@dataclasses.dataclass(frozen=True)
class Splits:
    """The pairs to learn from, to choose by, and to report on."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
