"""Settings of section `data`: the source of the examples, its own settings, and the lengths of batches."""

import dataclasses
import datetime
from collections.abc import Sequence

from experiments.data.sources.locales import FORMATS, LOCALES, find_locales
from experiments.data.splitting import RANDOM, SPLITS
from transformer.errors import UserError
from transformer.schema import a_seed, at_least, fraction, setting

FILE_FORMATS = ("text", "aligned", "tsv", "jsonl")
"""The formats of `data.files.format`; `sources.formats` has a row for each."""

PATHS = ("path", "source_path", "target_path", "validation_path", "test_path")
"""Settings that the source `files` alone reads."""

DRAWN = frozenset({"examples", "evaluation_examples", "dates"})
SOURCE_READS: dict[str, frozenset[str]] = {
    "dates": DRAWN,
    "date_language": DRAWN,
    "source_code": frozenset(),
    "files": frozenset({*PATHS, "files"}),
}
"""Name -> the settings and sections of `data` that it reads of those that not every source does."""


def _locales_check(names: Sequence[str]) -> str | None:
    try:
        find_locales(names)
    except UserError as error:
        return f"CLDR locales ({error})"
    return None


def formats_check(names: Sequence[str]) -> str | None:
    """Check the names of CLDR's formats: what was expected, or None where they are right."""
    return None if names and set(names) <= set(FORMATS) else "one or more of " + ", ".join(FORMATS)


def _year_check(year: int) -> str | None:
    return (
        None
        if datetime.MINYEAR <= year <= datetime.MAXYEAR
        else f"a year from {datetime.MINYEAR} to {datetime.MAXYEAR}"
    )


def a_name(text: str) -> str | None:
    """A check: not empty."""
    return None if text else "a name of at least one character"


@dataclasses.dataclass(frozen=True)
class DatesConfig:
    """Which days, written how."""

    locales: tuple[str, ...] = setting(LOCALES, "CLDR locales that days are written in", check=_locales_check)
    formats: tuple[str, ...] = setting(
        FORMATS[:3], "CLDR formats: full, long, medium; short is ambiguous between locales", check=formats_check
    )
    first_year: int = setting(1950, "days start on 1 January of this year", check=_year_check)
    last_year: int = setting(2049, "days end on 31 December of this year", check=_year_check)


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """How the user's files are read and split."""

    format: str | None = setting(None, "how files are written; none: by their names", allowed=FILE_FORMATS)
    text_field: str = setting("text", "JSONL field of a text, or of a text that has a label", check=a_name)
    label_field: str = setting("label", "JSONL field of a label", check=a_name)
    source_field: str = setting("source", "JSONL field of a pair's source", check=a_name)
    target_field: str = setting("target", "JSONL field of a pair's target", check=a_name)
    validation_share: float = setting(
        0.05,
        "share of the data held out for validation; not applied where data.validation_path is given",
        check=fraction,
    )
    test_share: float = setting(
        0.05, "share held out for the test (0: no test); not applied where data.test_path is given", check=fraction
    )
    split: str = setting(
        RANDOM, "what is held out: by a permutation of the seed, or the end of the data", allowed=SPLITS
    )


def _one_or_two(paths: tuple[str, ...]) -> str | None:
    return None if len(paths) in (1, 2) and all(paths) else "one path, or the source's and the target's"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is batched."""

    source: str = setting("dates", "where examples come from", allowed=SOURCE_READS)
    path: str | None = setting(
        None,
        "file of texts (plain, .gz, JSONL), folder of text files, or TSV or JSONL file of pairs or labels",
        check=a_name,
    )
    source_path: str | None = setting(None, "file whose lines are sources, plain or .gz", check=a_name)
    target_path: str | None = setting(None, "file whose lines are the targets of data.source_path's", check=a_name)
    validation_path: tuple[str, ...] | None = setting(
        None,
        "own validation data: a file or folder, or the source's and the target's file, separated by a comma",
        check=_one_or_two,
    )
    test_path: tuple[str, ...] | None = setting(None, "own test data, likewise", check=_one_or_two)
    examples: int = setting(100_000, "training examples drawn from a source that generates them", check=at_least(1))
    evaluation_examples: int = setting(
        2_000, "examples in each of validation and test, where they are generated", check=at_least(1)
    )
    too_long: str = setting(
        "refuse",
        "an example longer than the model's limit: refuse it, or cut it and say how many",
        allowed=("refuse", "cut"),
    )
    num_buckets: int = setting(2, "fixed lengths that batches are padded to; each compiles once", check=at_least(1))
    length_multiple: int = setting(1, "these lengths are multiples of this", check=at_least(1))
    seed: int | None = setting(
        None,
        "of what is drawn, of the splits and of the order of examples; none: the seed of the run",
        check=a_seed,
    )
    dates: DatesConfig = setting(DatesConfig, "the dates and date_language sources")
    files: FilesConfig = setting(FilesConfig, "the files source")
