"""Settings of section `data`: the source of the examples, its own settings, and the lengths of batches.

source                    gives
dates, date_language      examples that are drawn: examples, evaluation_examples, dates
source_code               the text of this project's source files
files                     the user's own files: path, source_path, target_path, validation_path, test_path, files
"""

import dataclasses
import datetime
from collections.abc import Sequence

from experiments.data.sources.locales import FORMATS, LOCALES, find_locales
from experiments.data.splitting import RANDOM, SPLITS
from experiments.tasks.config import tasks
from transformer.errors import UserError
from transformer.read_by import when
from transformer.schema import a_seed, at_least, fraction, setting

FILE_FORMATS = ("text", "aligned", "tsv", "jsonl")
"""Formats of `data.files.format`; `sources.formats` has a row for each."""

SOURCES = ("dates", "date_language", "source_code", "files")
"""Names of the sources; `sources.table` has a row for each."""

PATHS = tuple(f"data.{name}" for name in ("path", "source_path", "target_path", "validation_path", "test_path"))
"""Settings that name the user's files: those of a trained run may have moved, which their fingerprint shows."""

DRAWN = when("data.source", "dates", "date_language")
FILES = when("data.source", "files")
LENGTHS = tasks("text_to_text", "classification", objectives=("continuation",))
"""Condition of settings for examples with lengths of their own; windows of a stream have one."""


def _locales_check(names: Sequence[str]) -> str | None:
    try:
        find_locales(names)
    except UserError as error:
        return f"CLDR locales ({error})"
    return None


def formats_check(names: Sequence[str]) -> str | None:
    """Check the names of CLDR's formats: return the expected ones, or None where all are valid."""
    return None if names and set(names) <= set(FORMATS) else "one or more of " + ", ".join(FORMATS)


def _year_check(year: int) -> str | None:
    return (
        None
        if datetime.MINYEAR <= year <= datetime.MAXYEAR
        else f"a year from {datetime.MINYEAR} to {datetime.MAXYEAR}"
    )


def a_name(text: str) -> str | None:
    """Check that a name is not empty."""
    return None if text else "a name of at least one character"


@dataclasses.dataclass(frozen=True)
class DatesConfig:
    """Days to draw, and the locales and formats that write them."""

    locales: tuple[str, ...] = setting(LOCALES, "CLDR locales that write the days", check=_locales_check)
    formats: tuple[str, ...] = setting(
        FORMATS[:3], "CLDR formats: full, long, medium; short is ambiguous between locales", check=formats_check
    )
    first_year: int = setting(1950, "first year of the days (from 1 January)", check=_year_check)
    last_year: int = setting(2049, "last year of the days (to 31 December)", check=_year_check)


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """Format of the user's files, and the split."""

    format: str | None = setting(None, "format of the files; none: by their names", allowed=FILE_FORMATS)
    text_field: str = setting(
        "text",
        "JSONL field of a text, or of a text that has a label",
        check=a_name,
        read_by=tasks("language_modelling", "classification"),
    )
    label_field: str = setting("label", "JSONL field of a label", check=a_name, read_by=tasks("classification"))
    source_field: str = setting("source", "JSONL field of a pair's source", check=a_name, read_by=tasks("text_to_text"))
    target_field: str = setting("target", "JSONL field of a pair's target", check=a_name, read_by=tasks("text_to_text"))
    validation_share: float = setting(
        0.05,
        "share of the data held out for validation; not applied where data.validation_path is given",
        check=fraction,
    )
    test_share: float = setting(
        0.05,
        "share of the data held out for the test (0: no test); not applied where data.test_path is given",
        check=fraction,
    )
    split: str = setting(
        RANDOM, "choice of the held-out part: by a permutation of the seed, or the end of the data", allowed=SPLITS
    )


def _one_or_two(paths: tuple[str, ...]) -> str | None:
    return None if len(paths) in (1, 2) and all(paths) else "one path, or the source's and the target's"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Source of the examples, and their batches."""

    source: str = setting("dates", "source of the examples", allowed=SOURCES)
    path: str | None = setting(
        None,
        "file of texts (plain, .gz, JSONL), folder of text files, or TSV or JSONL file of pairs or labels",
        check=a_name,
        read_by=FILES,
    )
    source_path: str | None = setting(None, "file whose lines are sources, plain or .gz", check=a_name, read_by=FILES)
    target_path: str | None = setting(
        None, "file whose lines are the targets of data.source_path's", check=a_name, read_by=FILES
    )
    validation_path: tuple[str, ...] | None = setting(
        None,
        "own validation data: a file or folder, or the source's and the target's file, separated by a comma",
        check=_one_or_two,
        read_by=FILES,
    )
    test_path: tuple[str, ...] | None = setting(
        None,
        "own test data: a file or folder, or two files, as for data.validation_path",
        check=_one_or_two,
        read_by=FILES,
    )
    examples: int = setting(
        100_000, "training examples drawn from a source that generates them", check=at_least(1), read_by=DRAWN
    )
    evaluation_examples: int = setting(
        2_000,
        "examples in each of validation and test, for a source that generates them",
        check=at_least(1),
        read_by=DRAWN,
    )
    too_long: str = setting(
        "refuse",
        "treatment of examples longer than the model's limit: refuse them, or cut them and print how many",
        allowed=("refuse", "cut"),
        read_by=LENGTHS,
    )
    num_buckets: int = setting(
        2,
        "number of fixed lengths to which batches are padded; each compiles once",
        check=at_least(1),
        read_by=LENGTHS,
    )
    length_multiple: int = setting(
        1, "multiple to which padded lengths are rounded up (tokens)", check=at_least(1), read_by=LENGTHS
    )
    seed: int | None = setting(
        None,
        "seed of drawn examples, of the splits and of the order of examples; none: the seed of the run",
        check=a_seed,
    )
    dates: DatesConfig = setting(DatesConfig, "sources dates and date_language", read_by=DRAWN)
    files: FilesConfig = setting(FilesConfig, "source files", read_by=FILES)
