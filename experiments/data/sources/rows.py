"""Tables of sources of examples and of file formats, and what their rows are; both are open to rows from outside.

    def counting(config, seed):                              a source: (DataConfig, seed) -> Splits
        pairs = [Pair(str(i), str(i + 1)) for i in range(1000)]
        return Splits(pairs[:800], pairs[800:900], pairs[900:])

    def doubling(random):                                    or one example of a generator of random numbers
        number = int(random.integers(1000))
        return Pair(str(number), str(2 * number))

    DOUBLING = drawn(doubling)

    def csv(files, config):                                  a file format: (files, FilesConfig) -> examples
        return [Pair(*line.split(";")) for line in files[0].lines()]

    CSV = Format(pairs=csv, endings=(".csv",))

    --config.data.source=my_lab.data:counting    --config.data.files.format=my_lab.data:CSV

The project's own rows are those of `sources.table` and `sources.formats`, which are imported on first use.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from experiments.data.examples import LABELS, PAIRS, TEXT, Document, Pair, Splits
from transformer.errors import UserError, problem, shorten, with_article
from transformer.tables import Row, Table

EXAMPLE = {TEXT: Document, PAIRS: Pair, LABELS: Pair}
"""Kind of data -> class of its examples."""


@dataclasses.dataclass(frozen=True, eq=False)
class ByKind(Row):
    """A row with a function for each kind of data that it gives; labels serve as pairs where there are no others.

    Attributes:
        text, pairs, labels: function for documents, for pairs of texts, and for texts with labels; None: not given.
        reads: names of the settings that it reads of those which only some rows read, such as "examples".
    """

    text: Callable[..., Any] | None = None
    pairs: Callable[..., Any] | None = None
    labels: Callable[..., Any] | None = None
    reads: tuple[str, ...] = ()

    @property
    def kinds(self) -> dict[str, Callable[..., Any]]:
        """The functions by kind of data."""
        own = {TEXT: self.text, PAIRS: self.pairs, LABELS: self.labels}
        return {kind: function for kind, function in own.items() if function is not None}

    def function(self, kind: str) -> Callable[..., Any] | None:
        """Return the function for a kind of data; None where there is none."""
        return self.kinds.get(kind) or (self.labels if kind == PAIRS else None)


@dataclasses.dataclass(frozen=True, eq=False)
class Source(ByKind):
    """A row of SOURCES.

    Attributes:
        text, pairs, labels: (DataConfig, seed) -> Splits, a function of these alone and of the files that it reads; a
            row with settings also takes `settings`.
        reads: names of the settings of section `data` that it reads of those which only some sources read.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Format(ByKind):
    """A row of FORMATS.

    Attributes:
        text, pairs, labels: (files, FilesConfig) -> examples, or the examples and a note on those left out; files are
            `sources.reading.File`s. A row with settings also takes `settings`.
        reads: names of the settings of section `data.files` that it reads of those which only some formats read.
        endings: endings of the names of such files, before .gz, by which the format is found where none is set.
        files: number of files that an example comes from: 1, or 2 for data.source_path and data.target_path.
        folders: True where data.path may be a folder of such files.
    """

    endings: tuple[str, ...] = ()
    files: int = 1
    folders: bool = False


def _of_every_kind(row: type[ByKind]) -> Callable[[Any], Any]:
    """Return the function that makes a row of a function, whose examples decide their kind once they are there."""
    return lambda function: row(text=function, pairs=function, labels=function)


def _check(takes: tuple[str, ...]) -> Callable[[ByKind, str], None]:
    """Return the check of a row from outside: its functions take these arguments."""

    def check(row: ByKind, what: str) -> None:
        expected = f"a function of ({', '.join((*takes, *row.own))})"
        if not row.kinds:
            raise problem(f"{what} has no function", expected="one as text, pairs or labels")
        for function in row.kinds.values():
            try:
                inspect.signature(function).bind(*takes, **row.own)
            except ValueError:  # a function that is not written in Python may have no signature
                continue
            except TypeError as error:
                got = shorten(f"{getattr(function, '__name__', function)}{inspect.signature(function)}")
                raise problem(f"{what} takes other arguments", got=got, expected=expected) from error

    return check


SOURCES: Table[Source] = Table(
    "source",
    Source,
    "experiments.data.sources.table:ROWS",
    make=_of_every_kind(Source),
    expected="a function (config, seed) -> Splits, or an experiments.data.sources.rows.Source",
    check=_check(("config", "seed")),
)

FORMATS: Table[Format] = Table(
    "file_format",
    Format,
    "experiments.data.sources.formats:ROWS",
    make=_of_every_kind(Format),
    expected="a function (files, config) -> examples, or an experiments.data.sources.rows.Format",
    check=_check(("files", "config")),
)


def drawn(example: Callable[..., Any], kind: str = PAIRS, settings: Any = None) -> Source:
    """Return the source whose example i is drawn by a function of a generator of random numbers.

    The generator of example i of a split is that of (the seed, the split, i), so that an example depends neither on
    those before it nor on how many there are. Two splits may hold the same example.

    Args:
        example: (numpy.random.Generator) -> `Pair`, or `Document` for text; with settings also `settings`.
        kind: TEXT, PAIRS or LABELS.
        settings: own settings of the source; see `Row`.
    """

    @functools.wraps(example)
    def draw(config: Any, seed: int, **own: Any) -> Splits:
        counts = (config.examples, config.evaluation_examples, config.evaluation_examples)
        return Splits(
            *(
                [example(np.random.default_rng((seed, stream, i)), **own) for i in range(count)]
                for stream, count in enumerate(counts, start=1)
            )
        )

    draw.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("config", "seed")]
        + [inspect.Parameter("own", inspect.Parameter.VAR_KEYWORD)]
    )
    exempt = {"apart": "each example is drawn by itself, so that two splits may draw the same one"}
    return Source(**{kind: draw}, settings=settings, reads=("examples", "evaluation_examples"), exempt=exempt)


def format_of(path: str) -> str | None:
    """Return the name of the format that files of this name have; None where the name does not show it."""
    name = path.lower().removesuffix(".gz")
    return next((row for row, found in FORMATS.items() if name.endswith(tuple(found.endings))), None)


def refuse_other_examples(examples: Any, kind: str, what: str) -> None:
    """Raise a UserError for what a row gave that is no list of the examples of a kind."""
    expected = f"a list of {EXAMPLE[kind].__name__}s"
    if isinstance(examples, str) or not isinstance(examples, Iterable) or not hasattr(examples, "__len__"):
        raise gave(what, examples, expected)
    for i, example in enumerate(examples):
        if not isinstance(example, EXAMPLE[kind]):
            where = f"example {i}: {with_article(type(example).__name__)}, {shorten(repr(example), 80)}"
            raise problem(f"{what} gave no {EXAMPLE[kind].__name__}", got=where, expected=expected)


def gave(what: str, got: Any, expected: str) -> UserError:
    """Return the error for a row whose function gave something else."""
    shown = f"{with_article(type(got).__name__)}, {shorten(repr(got), 80)}"
    return problem(f"{what} gave something else", got=shown, expected=expected)
