"""Settings of section `data`: the source of the examples, its own settings, and the lengths of batches.

source                    gives
dates, date_language      examples that are drawn: examples, evaluation_examples, dates
source_code               the source files of Python's standard library
files                     the user's own files: path, source_path, target_path, validation_path, test_path, files
"""

import dataclasses
import datetime
from collections.abc import Sequence

from experiments.data.sources.locales import FORMATS as DATE_FORMATS
from experiments.data.sources.locales import LOCALES, find_locales
from experiments.data.sources.rows import FORMATS, SOURCES, format_of
from experiments.data.splitting import RANDOM, SPLITS
from experiments.tasks.config import tasks
from transformer.errors import UserError
from transformer.read_by import Condition, when
from transformer.schema import a_seed, at_least, fraction, not_empty, setting
from transformer.tables import Choice

PATHS = tuple(f"data.{name}" for name in ("path", "source_path", "target_path", "validation_path", "test_path"))
"""Settings that name the user's files: those of a trained run may have moved, which their fingerprint shows."""


def sources(setting: str, *names: str) -> Condition:
    """Return the condition of a setting that the sources `names` read, and rows from outside that list it."""
    return dataclasses.replace(
        when("data.source", *names),
        holds=lambda source: setting in SOURCES.find(source).reads,
        who=lambda source: f"data.source {str(source)!r}",
    )


def drawn(setting: str) -> Condition:
    """Return the condition of a setting of examples that are drawn."""
    return sources(setting, "dates", "date_language")


def files(setting: str) -> Condition:
    """Return the condition of a setting of the user's files."""
    return sources(setting, "files")


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


def formats(setting: str) -> Condition:
    """Return the condition of the name of a field: files of a format that reads it, by the one set or their names."""

    def holds(name: Choice | None, *paths: str | tuple[str, ...] | None) -> bool:
        if name is not None:
            return setting in FORMATS.find(name).reads
        given = [path for value in paths if value for path in ((value,) if isinstance(value, str) else value)]
        found = [format_of(path) for path in given]
        return not given or any(name is not None and setting in FORMATS[name].reads for name in found)

    return Condition(
        ("data.files.format", "data.path", "data.source_path", "data.validation_path", "data.test_path"),
        holds=holds,
        who=lambda name, *paths: "files that are no JSONL",
        expected=f"data.files.format=jsonl, or a file that ends in {', '.join(JSONL)}",
        do="Leave it out, or set data.files.format=jsonl.",
    )


a_year = at_least(datetime.MINYEAR, datetime.MAXYEAR)


def _locales_check(names: Sequence[str]) -> str | None:
    try:
        find_locales(names)
    except UserError as error:
        return f"CLDR locales ({error})"
    return None


def formats_check(names: Sequence[str]) -> str | None:
    """Check the names of CLDR's formats: return the expected ones, or None where all are valid."""
    return None if names and set(names) <= set(DATE_FORMATS) else "one or more of " + ", ".join(DATE_FORMATS)


@dataclasses.dataclass(frozen=True)
class DatesConfig:
    """Days to draw, and the locales and formats that write them."""

    locales: tuple[str, ...] = setting(LOCALES, "CLDR locales that write the days", check=_locales_check)
    formats: tuple[str, ...] = setting(
        DATE_FORMATS[:3], "CLDR formats: full, long, medium; short is ambiguous between locales", check=formats_check
    )
    first_year: int = setting(1950, "first year of the days (from 1 January)", check=a_year)
    last_year: int = setting(2049, "last year of the days (to 31 December)", check=a_year)


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """Format of the user's files, and the split."""

    format: Choice | None = setting(None, "format of the files; none: by their names", table=FORMATS)
    text_field: str = setting(
        "text",
        "JSONL field of a text, or of a text that has a label",
        check=not_empty,
        read_by=(tasks("language_modelling", "classification"), formats("text_field")),
    )
    label_field: str = setting(
        "label", "JSONL field of a label", check=not_empty, read_by=(tasks("classification"), formats("label_field"))
    )
    source_field: str = setting(
        "source",
        "JSONL field of a pair's source",
        check=not_empty,
        read_by=(tasks("text_to_text"), formats("source_field")),
    )
    target_field: str = setting(
        "target",
        "JSONL field of a pair's target",
        check=not_empty,
        read_by=(tasks("text_to_text"), formats("target_field")),
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

    source: Choice = setting(
        "dates",
        "source of the examples: dates and languages that are drawn, Python's source code, or files",
        table=SOURCES,
    )
    path: str | None = setting(
        None,
        "training data: file of texts (plain, .gz, JSONL), folder of text files, or TSV or JSONL file of pairs or"
        " labels",
        check=not_empty,
        read_by=files("path"),
    )
    source_path: str | None = setting(
        None, "file whose lines are sources, plain or .gz", check=not_empty, read_by=files("source_path")
    )
    target_path: str | None = setting(
        None, "file whose lines are the targets of data.source_path's", check=not_empty, read_by=files("target_path")
    )
    validation_path: tuple[str, ...] | None = setting(
        None,
        "validation data: a file or folder, or the source's and the target's file, separated by a comma; none: a share"
        " of the training data",
        check=_one_or_two,
        read_by=files("validation_path"),
    )
    test_path: tuple[str, ...] | None = setting(
        None,
        "test data, as data.validation_path; none: a share of the training data",
        check=_one_or_two,
        read_by=files("test_path"),
    )
    examples: int = setting(
        100_000, "number of training examples that are drawn", check=at_least(1), read_by=drawn("examples")
    )
    evaluation_examples: int = setting(
        2_000,
        "number of examples that are drawn for validation, and for the test",
        check=at_least(1),
        read_by=drawn("evaluation_examples"),
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
    dates: DatesConfig = setting(DatesConfig, "sources dates and date_language", read_by=drawn("dates"))
    files: FilesConfig = setting(FilesConfig, "source files", read_by=files("files"))
