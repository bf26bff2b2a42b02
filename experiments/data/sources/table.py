"""The sources of examples: one row of SOURCES for each, with a function for each kind of data it gives.

source           text    pairs    labels
dates                    x
date_language                     x
source_code      x
files            x       x        x
"""

import dataclasses
from typing import Any

from experiments.data.config import DataConfig
from experiments.data.examples import LABELS, PAIRS, TEXT, Splits
from experiments.data.sources.date_language import date_language
from experiments.data.sources.dates import dates
from experiments.data.sources.files import label_files, pair_files, text_files
from experiments.data.sources.rows import SOURCES, Source, gave, refuse_other_examples
from experiments.data.sources.source_code import source_code
from transformer.errors import UserError, problem, unknown
from transformer.read_by import refuse_unread

__all__ = ["ROWS", "SOURCES", "load", "refuse_other_splits"]

DRAWN = ("examples", "evaluation_examples", "dates")
PATHS = ("path", "source_path", "target_path", "validation_path", "test_path", "files")

ALL_AT_ONCE = {"prefix": "the days, locales and formats of a split are drawn one after another, all days first"}
"""Exemption of sources whose example i depends on how many are drawn."""

ROWS = {
    "dates": Source(pairs=dates, reads=DRAWN, exempt=ALL_AT_ONCE),
    "date_language": Source(labels=date_language, reads=DRAWN, exempt=ALL_AT_ONCE),
    "source_code": Source(text=source_code),
    "files": Source(text_files, pair_files, label_files, reads=PATHS),
}
"""The rows of SOURCES."""


def load(config: DataConfig, seed: int, kind: str = PAIRS) -> Splits:
    """Load the examples of the config's source: a function of (config, seed, kind) and, for files, of their content.

    Args:
        kind: TEXT gives `Document`s; PAIRS and LABELS give `Pair`s.

    Raises:
        UserError: an unknown source, one that does not give this kind, a path that it does not read, no examples
            for training or validation, or the source's own errors. The test may be empty.
    """
    if kind not in (TEXT, PAIRS, LABELS):
        raise unknown("kind of data", kind, (TEXT, PAIRS, LABELS))
    row = SOURCES.of(config, "source")
    read = row.function(kind)
    if read is None:
        able = [name for name, other in SOURCES.items() if other.function(kind) is not None]
        raise problem(
            f"data source {str(config.source)!r} does not give {kind}",
            got=f"a source of {', '.join(row.kinds)}",
            expected=f"data.source among {', '.join(able)}",
        )
    refuse_unread(config, "data")
    splits = read(config, seed, **row.own)
    do = "Set data.validation_path, or data.files.validation_share above 0." if config.source == "files" else None
    refuse_other_splits(splits, kind, f"data source {str(config.source)!r}", do)
    return splits


def refuse_other_splits(splits: Any, kind: str, what: str, do: str | None = None) -> None:
    """Check splits that a row gave: examples of a kind, some for training and for validation.

    Args:
        kind: TEXT, PAIRS or LABELS.
        what: the row in words, for errors.
        do: advice where nothing is left for validation.

    Raises:
        UserError: they are something else.
    """
    if not isinstance(splits, Splits):
        raise gave(what, splits, "experiments.data.examples.Splits")
    for name in ("train", "validation", "test"):
        refuse_other_examples(getattr(splits, name), kind, f"{what}, for {name},")
    for name in ("train", "validation"):
        if not getattr(splits, name):
            raise _empty(what, {"train": "training"}.get(name, name), splits, do)


def _empty(what: str, name: str, splits: Splits, do: str | None) -> UserError:
    sizes = ", ".join(
        f"{len(getattr(splits, field.name)):,} for {field.name}" for field in dataclasses.fields(splits)[:3]
    )
    message = f"a split left empty: {what} gives nothing for {name}"
    return problem(message, got=sizes, expected="at least one example", do=do)
