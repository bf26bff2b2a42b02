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
from transformer.read_by import Condition, when
from transformer.schema import a_seed, at_least, fraction, not_empty, setting

FILE_FORMATS = ("text", "aligned", "tsv", "jsonl")
"""Formats of `data.files.format`; `sources.formats` has a row for each."""

SOURCES = ("dates", "date_language", "source_code", "files")
"""Names of the sources; `sources.table` has a row for each."""

PATHS = tuple(f"data.{name}" for name in ("path", "source_path", "target_path", "validation_path", "test_path"))
"""Settings that name the user's files: those of a trained run may have moved, which their fingerprint shows."""

DRAWN = when("data.source", "dates", "date_language")
FILES = when("data.source", "files")
JSONL = (".jsonl", ".ndjson", ".json")
"""Endings of the names of JSONL files, before .gz."""

LENGTHS = tasks("text_to_text", "classification", objectives=("continuation",))
"""Condition of settings for examples with lengths of their own; windows of a stream have one."""

LIMITED = Condition(
    ("model.max_length",),
    holds=lambda limit: limit is not None,
    who=lambda limit: "a model without model.max_length",
    expected="model.max_length",
    do="Set model.max_length.",
)
"""Condition of settings for examples beyond the model's limit."""


def unless_own(*paths: str) -> Condition:
    """Return the condition of settings of a split: one of the held-out parts has no files of its own."""
    return Condition(
        paths,
        holds=lambda *values: None in values,
        who=lambda *values: f"held-out data of {' and '.join(paths)}",
        expected=f"{' or '.join(paths)} none",
        do=f"Leave it out, or set {paths[0]}=none.",
        quiet=True,
    )


def _is_jsonl(name: str | None, *paths: str | tuple[str, ...] | None) -> bool:
    """Check that a file may be JSONL: by the format that is set, or by the names of the files."""
    if name is not None:
        return name == "jsonl"
    given = [path for value in paths if value for path in ((value,) if isinstance(value, str) else value)]
    return not given or any(path.lower().removesuffix(".gz").endswith(JSONL) for path in given)


FIELDS = Condition(
    ("data.files.format", "data.path", "data.source_path", "data.validation_path", "data.test_path"),
    holds=_is_jsonl,
    who=lambda name, *paths: "files that are no JSONL",
    expected=f"data.files.format=jsonl, or a file that ends in {', '.join(JSONL)}",
    do="Leave it out, or set data.files.format=jsonl.",
)
"""Condition of the names of fields."""


a_year = at_least(datetime.MINYEAR, datetime.MAXYEAR)


def _locales_check(names: Sequence[str]) -> str | None:
    try:
        find_locales(names)
    except UserError as error:
        return f"CLDR locales ({error})"
    return None


def formats_check(names: Sequence[str]) -> str | None:
    """Check the names of CLDR's formats: return the expected ones, or None where all are valid."""
    return None if names and set(names) <= set(FORMATS) else "one or more of " + ", ".join(FORMATS)


@dataclasses.dataclass(frozen=True)
class DatesConfig:
    """Days to draw, and the locales and formats that write them."""

    locales: tuple[str, ...] = setting(LOCALES, "CLDR locales that write the days", check=_locales_check)
    formats: tuple[str, ...] = setting(
        FORMATS[:3], "CLDR formats: full, long, medium; short is ambiguous between locales", check=formats_check
    )
    first_year: int = setting(1950, "first year of the days (from 1 January)", check=a_year)
    last_year: int = setting(2049, "last year of the days (to 31 December)", check=a_year)


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """Format of the user's files, and the split."""

    format: str | None = setting(None, "format of the files; none: by their names", allowed=FILE_FORMATS)
    text_field: str = setting(
        "text",
        "JSONL field of a text, or of a text that has a label",
        check=not_empty,
        read_by=(tasks("language_modelling", "classification"), FIELDS),
    )
    label_field: str = setting(
        "label", "JSONL field of a label", check=not_empty, read_by=(tasks("classification"), FIELDS)
    )
    source_field: str = setting(
        "source", "JSONL field of a pair's source", check=not_empty, read_by=(tasks("text_to_text"), FIELDS)
    )
    target_field: str = setting(
        "target", "JSONL field of a pair's target", check=not_empty, read_by=(tasks("text_to_text"), FIELDS)
    )
    validation_share: float = setting(
        0.05,
        "share of the data held out for validation, where data.validation_path is none",
        check=fraction,
        read_by=unless_own("data.validation_path"),
    )
    test_share: float = setting(
        0.05,
        "share of the data held out for the test, where data.test_path is none; 0: no test",
        check=fraction,
        read_by=unless_own("data.test_path"),
    )
    split: str = setting(
        RANDOM,
        "choice of the held-out part: by a permutation of the seed, or the end of the data",
        allowed=SPLITS,
        read_by=unless_own("data.validation_path", "data.test_path"),
    )


def _one_or_two(paths: tuple[str, ...]) -> str | None:
    return None if len(paths) in (1, 2) and all(paths) else "one path, or the source's and the target's"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Source of the examples, and their batches."""

    source: str = setting(
        "dates",
        "source of the examples: dates and languages that are drawn, Python's source code, or files",
        allowed=SOURCES,
    )
    path: str | None = setting(
        None,
        "training data: file of texts (plain, .gz, JSONL), folder of text files, or TSV or JSONL file of pairs or"
        " labels",
        check=not_empty,
        read_by=FILES,
    )
    source_path: str | None = setting(
        None, "file whose lines are sources, plain or .gz", check=not_empty, read_by=FILES
    )
    target_path: str | None = setting(
        None, "file whose lines are the targets of data.source_path's", check=not_empty, read_by=FILES
    )
    validation_path: tuple[str, ...] | None = setting(
        None,
        "validation data: a file or folder, or the source's and the target's file, separated by a comma; none: a share"
        " of the training data",
        check=_one_or_two,
        read_by=FILES,
    )
    test_path: tuple[str, ...] | None = setting(
        None,
        "test data, as data.validation_path; none: a share of the training data",
        check=_one_or_two,
        read_by=FILES,
    )
    examples: int = setting(100_000, "number of training examples that are drawn", check=at_least(1), read_by=DRAWN)
    evaluation_examples: int = setting(
        2_000,
        "number of examples that are drawn for validation, and for the test",
        check=at_least(1),
        read_by=DRAWN,
    )
    too_long: str = setting(
        "refuse",
        "treatment of examples longer than model.max_length, where it is set: refuse them, or cut them and print how"
        " many",
        allowed=("refuse", "cut"),
        read_by=(LENGTHS, LIMITED),
    )
    num_buckets: int = setting(
        2,
        "number of lengths to which batches are padded: more of them, less padding, but a program to compile for each",
        check=at_least(1, 10_000),
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
