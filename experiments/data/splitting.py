"""Held-out parts of data that comes as a whole: two shares v and t of n examples, drawn at random or from the end.

`tail`: the first floor((1 - v - t) n) are for training, the last floor(t n) for the test, and those between for
validation; for one long text, n counts its characters. `random`: a seeded permutation gives floor(v n) and floor(t n),
at least one of each whose share is not 0; one long text loses a stretch of whole lines from a seeded position. Shares
are taken as the decimal numbers that they are written as: in floating point, (1 - 0.05 - 0.05) 100 is 89.99...
"""

import math
from fractions import Fraction

import numpy as np

from experiments.data.examples import Document
from transformer.errors import problem

RANDOM, TAIL = "random", "tail"
SPLITS = (RANDOM, TAIL)

Parts = tuple[list, list, list]
"""Examples for training, for validation, for the test."""


def split(examples: list, validation_share: float, test_share: float, method: str, seed: int) -> Parts:
    """Split examples into three parts, each in the order of the data; one single document is cut within its text.

    A function of the arguments alone.

    Raises:
        UserError: nothing is left to learn from, or a part whose share is not 0 is empty.
    """
    single = len(examples) == 1 and isinstance(examples[0], Document)
    shares = Fraction(str(validation_share)), Fraction(str(test_share))
    if single:
        parts = _split_text(examples[0], *_cuts(len(examples[0].text), *shares), method, seed)
    elif method == TAIL:
        first, second = _cuts(len(examples), *shares)
        parts = examples[:first], examples[first:second], examples[second:]
    else:
        parts = _split_at_random(examples, shares, seed)
    _not_empty(parts, shares, "characters" if single else "examples", single and method == RANDOM)
    return parts


def _cuts(count: int, validation: Fraction, test: Fraction) -> tuple[int, int]:
    """Compute the indices at which validation and test start; the remainder of rounding is held out."""
    first = max(0, math.floor((1 - validation - test) * count))
    return first, count - math.floor(test * count) if validation else first


def _split_at_random(examples: list, shares: tuple[Fraction, Fraction], seed: int) -> Parts:
    sizes = [max(1, math.floor(share * len(examples))) if share else 0 for share in shares]
    order = np.random.default_rng(seed).permutation(len(examples))
    rows = np.split(order, np.cumsum(sizes))
    validation, test, train = ([examples[i] for i in np.sort(part)] for part in rows)
    return train, validation, test


def _split_text(document: Document, first: int, second: int, method: str, seed: int) -> Parts:
    """Cut one text: at the end, or one stretch of lines from a seeded position, which may leave two training texts."""
    text, held_out = document.text, len(document.text) - first
    if method == TAIL or not held_out:
        spans = [(0, first)], [(first, second)], [(second, len(text))]
    else:
        start = int(np.random.default_rng(seed).integers(first + 1))
        cuts = (start, start + second - first, start + held_out)
        start, middle, end = (_line_start(text, at) for at in cuts)
        spans = [(0, start), (end, len(text))], [(start, middle)], [(middle, end)]
    return tuple([Document(text[a:b], document.name) for a, b in part if a < b] for part in spans)


def _line_start(text: str, at: int) -> int:
    """Return the index nearest to `at` where a line starts, or the text ends."""
    before = text.rfind("\n", 0, at) + 1
    after = text.find("\n", max(at - 1, 0)) + 1 or len(text)
    return before if at - before <= after - at else after


def _not_empty(parts: Parts, shares: tuple[Fraction, Fraction], unit: str, by_lines: bool) -> None:
    names = ("training", "validation", "test")
    wanted = (True, shares[0] > 0, shares[1] > 0)
    empty = [name for name, part, want in zip(names, parts, wanted, strict=True) if want and not part]
    if not empty:
        return
    sizes = [sum(len(e.text) for e in part) if unit == "characters" else len(part) for part in parts]
    given = ", ".join(f"{size:,} for {name}" for name, size in zip(names, sizes, strict=True))
    do = "Change data.files.validation_share and data.files.test_share, or give own files (data.validation_path)"
    raise problem(
        f"a split left empty: {' and '.join(empty)}",
        got=f"{given}, of {sum(sizes):,} {unit}; data.files.validation_share={float(shares[0]):g} and "
        f"data.files.test_share={float(shares[1]):g}",
        expected="more than none",
        do=f"{do}{', or set data.files.split=tail, which cuts within a line' if by_lines else ''}.",
    )
