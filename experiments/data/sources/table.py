"""The table of sources of examples: one row of SOURCES for each, with a function for each kind of data it gives.

source           text    pairs    labels
dates                    x
date_language                     x
source_code      x
files            x       x        x
"""

import dataclasses
from collections.abc import Callable, Mapping

from experiments.data.config import DataConfig
from experiments.data.examples import LABELS, PAIRS, TEXT, Splits
from experiments.data.sources.date_language import date_language
from experiments.data.sources.dates import dates
from experiments.data.sources.files import label_files, pair_files, text_files
from experiments.data.sources.source_code import source_code
from transformer.errors import UserError, find_row, problem, unknown
from transformer.read_by import refuse_unread

SOURCES: dict[str, Mapping[str, Callable[[DataConfig, int], Splits]]] = {
    "dates": {PAIRS: dates},
    "date_language": {LABELS: date_language},
    "source_code": {TEXT: source_code},
    "files": {TEXT: text_files, PAIRS: pair_files, LABELS: label_files},
}
"""Name -> {kind of data -> function (DataConfig, seed) -> Splits}; labels serve as pairs where there are no others."""


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
    rows = find_row("data source", SOURCES, config.source)
    read = rows.get(kind) or (rows.get(LABELS) if kind == PAIRS else None)
    if read is None:
        able = [name for name, kinds in SOURCES.items() if kind in kinds or (kind == PAIRS and LABELS in kinds)]
        raise problem(
            f"data source {config.source!r} does not give {kind}",
            got=f"a source of {', '.join(rows)}",
            expected=f"data.source among {', '.join(able)}",
        )
    refuse_unread(config, "data")
    splits = read(config, seed)
    for name in ("train", "validation"):
        if not getattr(splits, name):
            raise _empty(config.source, {"train": "training"}.get(name, name), splits)
    return splits


def _empty(source: str, name: str, splits: Splits) -> UserError:
    sizes = ", ".join(
        f"{len(getattr(splits, field.name)):,} for {field.name}" for field in dataclasses.fields(splits)[:3]
    )
    what = f"a split left empty: data source {source!r} gives nothing for {name}"
    do = "Set data.validation_path, or data.files.validation_share above 0." if source == "files" else None
    return problem(what, got=sizes, expected="at least one example", do=do)
