"""Cases and sentences that studies of identities share, beside `frame.claim.exact`.

exact      two results are the same           holds exactly if the largest error is below the tolerance
present    something depends on something     holds exactly if the smallest size is above 100 tolerances
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY, UNDECIDED
from experiments.studies.frame.claim import CONTROL, Case
from experiments.studies.frame.text import Text, joined, number

NONE = 1e-8
"""Share of the largest derivative below which a derivative in float32 counts as none."""

UNEXPECTED = Text(
    "These are not the words that the mathematics gives: the settings are outside of its conditions, or the code has "
    "an error.",
    "这些结论与数学推导不符：要么设置不满足其条件，要么代码有错误。",
)
"""Sentence in the place of an explanation that the numbers contradict."""


def present(name: Text, sizes: Any, absent: Any, *, what: Text, control: Text, tolerance: float = NONE) -> Case:
    """Judge the claim that something is not zero: a derivative, a distance.

    Args:
        sizes: sizes, of any shape, that the claim says are above zero.
        absent: sizes of what must be zero, which show that the measurement can find none.
        what: the sizes in words, before the smallest, or for a counterexample the largest, of them.
        control: those of `absent` in words, before their largest.

    Returns:
        A case "holds exactly" if all sizes are above 100 tolerances and all of `absent` are below the tolerance;
        "fails, with a counterexample" if all sizes are below the tolerance; else "undecided".
    """
    found = np.nan_to_num(np.asarray(sizes, float).ravel(), nan=0.0)
    none = np.nan_to_num(np.asarray(absent, float).ravel(), nan=np.inf)
    word = UNDECIDED
    if found.min() > CONTROL * tolerance and none.max() < tolerance:
        word = HOLDS_EXACTLY
    elif found.max() < tolerance:
        word = COUNTEREXAMPLE
    numbers = {"smallest": float(found.min()), "largest": float(found.max()), "control": float(none.max())}
    sizes_in_words = (what, "largest" if word == COUNTEREXAMPLE else "smallest"), (control, "control")
    measured = joined(Text(*(f"{part} {shown(numbers[size])}" for part in own)) for own, size in sizes_in_words)
    return Case(name, word, measured, numbers=numbers | {"tolerance": tolerance})


def explained(cases: Sequence[Case], words: Sequence[str], text: Text) -> Text:
    """Return a text if the words of the cases are those that it explains, else UNEXPECTED."""
    return text if [case.word for case in cases] == list(words) else UNEXPECTED


COMMA, ENUMERATION = Text(", ", "，"), Text(", ", "、")
"""Marks between parts of a sentence, and between the members of a list."""


def listed(texts: Iterable[Text], mark: Text = ENUMERATION) -> Text:
    """Join texts by a mark, language by language."""
    parts = list(texts)
    return Text(*(own.join(part[i] for part in parts) for i, own in enumerate(mark)))


def shown(size: float, digits: int = 3) -> str:
    """Format a size that may be exactly zero, which is "0"."""
    return number(size, digits) if size else "0"
