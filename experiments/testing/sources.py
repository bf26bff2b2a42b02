"""Properties of sources of examples: example i is a function of the settings, the seed and i."""

import contextlib
import dataclasses
import functools
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.config import DataConfig
from experiments.data.examples import LABELS, PAIRS, TEXT, Splits
from experiments.data.sources.rows import Source
from experiments.data.sources.table import load
from experiments.testing.processes import in_another_process
from transformer import schema
from transformer.errors import UserError
from transformer.testing import InapplicableError

SEED = 3
DATES = {"locales": ("en_US", "de"), "first_year": 1990, "last_year": 2009}
"""Settings of sources that read days, so that they are drawn in little time."""

SPLITS = ("train", "validation", "test")
LINES = {TEXT: "line {i} of a text", PAIRS: "source {i}\ttarget {i}", LABELS: "label {label}\ttext {i}"}
"""A line of a user's file by the kind of its examples."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A source, and the number of examples that it draws, or that its file has beside a few."""

    row: Source
    settings: Mapping[str, Any]
    size: int

    def load(self, kind: str, size: int | None = None, seed: int = SEED) -> Splits:
        """Load the splits anew, as a run does."""
        size = size or self.size
        values: dict[str, Any] = {"source": self.row}
        if "examples" in self.row.reads:
            values["examples"] = size
        if "evaluation_examples" in self.row.reads:
            values["evaluation_examples"] = self.evaluation
        if "dates" in self.row.reads:
            values["dates"] = DATES
        with contextlib.ExitStack() as stack:
            if "path" in self.row.reads and not {"path", "source_path"} & {*self.settings}:
                values["path"] = stack.enter_context(_file(kind, size))
            return load(schema.from_dict(DataConfig, {**values, **self.settings}, "data"), seed, kind)

    @property
    def evaluation(self) -> int:
        """Number of examples for validation, and for the test, that the source draws."""
        return max(self.size // 2, 1)

    @functools.cached_property
    def splits(self) -> dict[str, Splits]:
        """The splits by kind of data."""
        return {kind: self.load(kind) for kind in self.row.kinds}

    @functools.cached_property
    def contents(self) -> dict[str, Any]:
        """The contents of the splits by kind of data and name of the split."""
        return {kind: contents_of(splits) for kind, splits in self.splits.items()}


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sources of one example to many."""

    sizes: tuple[int, ...] = (1, 2, 4, 40)

    def make(self, row: Source, settings: Mapping[str, Any], size: int) -> Example:
        """Make the example of so many examples; the settings are those of section `data`."""
        schema.from_dict(DataConfig, {"source": row, **settings}, "data")
        return Example(row, settings, size)


def kinds(example: Example) -> str | None:
    """Load the examples of each kind that the source gives: those for training and for validation, of its class."""
    for kind in example.row.kinds:
        try:
            example.load(kind)
        except UserError as error:
            return f"{kind}: {error}"
    return None


def size(example: Example) -> str | None:
    """Count the examples of a source that reads how many to draw."""
    if "examples" not in example.row.reads:
        raise InapplicableError("the source does not read data.examples")
    held_out = "evaluation_examples" in example.row.reads
    for kind, splits in example.splits.items():
        expected = (example.size, *((example.evaluation,) * 2 if held_out else map(len, _parts(splits)[1:])))
        found = tuple(map(len, _parts(splits)))
        if found != expected:
            return f"{kind}: {found} examples for training, validation and test, not {expected}"
    return None


def repeated(example: Example) -> str | None:
    """Load the splits again, after those of another seed, with other states of the global generators of numbers."""
    states, first = (random.getstate(), np.random.get_state()), example.contents
    try:
        for kind in example.row.kinds:
            random.seed(1)
            np.random.seed(1)
            example.load(kind, seed=SEED + 1)
            if found := _differ(contents_of(example.load(kind)), first[kind], f"{kind}, loaded again"):
                return found
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    return None


def order(example: Example) -> str | None:
    """Read the examples backwards, in a random order, and twice: example i is the same."""
    for kind in example.row.kinds:
        splits = example.load(kind)
        for name, part in zip(SPLITS, _parts(splits), strict=True):
            straight = example.contents[kind][name]
            if len(part) != len(straight):
                return f"{kind}, {name}: {len(part)} examples, {len(straight)} when they are read one by one"
            for i in [*range(len(part))[::-1], *np.random.default_rng(0).integers(max(len(part), 1), size=len(part))]:
                if _content(part[int(i)]) != straight[i]:
                    return f"{kind}: example {i} of {name} depends on the order in which the examples are read"
    return None


def process(example: Example) -> str | None:
    """Load the splits in another process, where sets have another order."""
    found = in_another_process("source", example.row, all_contents, settings=dict(example.settings), size=example.size)
    for kind in example.row.kinds:
        if wrong := _differ(found[kind], example.contents[kind], f"{kind}, in another process"):
            return wrong
    return None


def all_contents(row: Source, settings: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the contents of an example by kind and split."""
    return Example(row, settings, size).contents


def prefix(example: Example) -> str | None:
    """Compare the examples for training with the first ones of twice as many."""
    if "examples" not in example.row.reads:
        raise InapplicableError("the source does not read data.examples")
    for kind in example.row.kinds:
        train = contents_of(example.load(kind, 2 * example.size))["train"][: example.size]
        if found := _differ({"train": train}, example.contents[kind], f"{kind}, among twice as many"):
            return found
    return None


def held_out(example: Example) -> str | None:
    """Compare validation and test with those beside twice as many examples for training."""
    if "examples" not in example.row.reads:
        raise InapplicableError("the source does not read data.examples")
    for kind in example.row.kinds:
        more = contents_of(example.load(kind, 2 * example.size))
        rest = {name: more[name] for name in SPLITS[1:]}
        if found := _differ(rest, example.contents[kind], f"{kind}, beside twice as many for training"):
            return found
    return None


def apart(example: Example) -> str | None:
    """Look for an example that two splits have."""
    for kind, contents in example.contents.items():
        seen: dict[tuple[str, ...], str] = {}
        texts = 1 if kind == TEXT else 2  # of a document its text alone, without its name
        for name in SPLITS:
            own = {tuple(part[:texts]): name for part in contents[name]}
            if both := seen.keys() & own.keys():
                shared = min(both)
                return f"{kind}: {seen[shared]} and {name} both have {str(shared)[:80]}"
            seen |= own
    return None


def contents_of(splits: Splits) -> dict[str, list[list[str]]]:
    """Read all examples in order, as lists of their texts, the first two of which are what a model reads and writes."""
    return {name: [_content(part) for part in parts] for name, parts in zip(SPLITS, _parts(splits), strict=True)}


def _content(example: Any) -> list[str]:
    return list(dataclasses.astuple(example))


def _parts(splits: Splits) -> tuple[Sequence[Any], ...]:
    return splits.train, splits.validation, splits.test


def _differ(found: Mapping[str, Any], expected: Mapping[str, Any], words: str) -> str | None:
    for name, examples in found.items():
        if len(examples) != len(expected[name]):
            return f"{words}: {name} has {len(examples)} examples, not {len(expected[name])}"
        for i, (one, other) in enumerate(zip(examples, expected[name], strict=True)):
            if one != other:
                return f"{words}: example {i} of {name} is {str(one)[:60]}, not {str(other)[:60]}"
    return None


@contextlib.contextmanager
def _file(kind: str, size: int) -> Iterator[str]:
    """Write a file of lines, some more than `size`, so that every split has some."""
    lines = [LINES[kind].format(i=i, label=i % 3) for i in range(size + 30)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("lines.txt" if kind == TEXT else "lines.tsv")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield str(path)


PROPERTIES = (
    ("kinds", kinds),
    ("size", size),
    ("repeated", repeated),
    ("order", order),
    ("process", process),
    ("prefix", prefix),
    ("held_out", held_out),
    ("apart", apart),
)
"""Name -> property."""
