"""Ranges of numbers: the checks that a setting names, with what each expects in words.

    at_least(1)            a number from 1 to 2^31 - 1
    at_least(0.0, 1.0)     a number from 0 to 1
    above(0.0, 1e6)        a number above 0, at most 10^6
    even, multiple, each   even numbers, multiples, lists of numbers

Every range has both ends: what the use of a number can bear, in 32 bits. NaN and infinity lie in none.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

LARGEST = 2**31 - 1
"""Largest number of 32 bits with a sign: JAX counts steps and indexes arrays in them."""

WIDEST = 2**20
"""Largest width; the product of two is below 2^63, so sizes of arrays are exact."""


@dataclasses.dataclass(frozen=True)
class Check:
    """A test of one value, with what it expects in words.

    Attributes:
        holds: value -> whether it is allowed; called only within the bounds.
        expected: the words.
        bounds: the least and the largest number that are allowed, each included; of a list, those of each part.
    """

    holds: Callable[[Any], bool]
    expected: str
    bounds: tuple[float, float] | None = None

    def __call__(self, value: Any) -> str | None:
        return None if self._within(value) and self.holds(value) else self.expected

    def _within(self, value: Any) -> bool:
        if self.bounds is None:
            return True
        low, high = self.bounds
        return all(low <= part <= high for part in (value if isinstance(value, tuple) else (value,)))


def at_least(low: float, high: float = LARGEST) -> Check:
    """Return the check for a number from `low` to `high`."""
    return Check(lambda value: True, f"a number from {in_words(low)} to {in_words(high)}", (low, high))


def above(low: float, high: float = 1e6) -> Check:
    """Return the check for a number above `low`, up to `high`."""
    words = f"a number above {in_words(low)}, at most {in_words(high)}"
    return Check(lambda value: value > low, words, (math.nextafter(low, math.inf), high))


def even(low: int, high: int) -> Check:
    """Return the check for an even number from `low` to `high`, both even."""
    return multiple(2, low, high, "an even number")


def multiple(of: int, low: int, high: int, words: str | None = None) -> Check:
    """Return the check for a multiple of a number, from `low` to `high`, which are multiples too."""
    text = words or f"a multiple of {of}"
    return Check(lambda value: value % of == 0, f"{text} from {in_words(low)} to {in_words(high)}", (low, high))


def each(low: float, high: float, words: str, holds: Callable[[Any], bool] = lambda values: True) -> Check:
    """Return the check for a list of numbers, each from `low` to `high`; `words` and `holds` are of the whole list."""
    return Check(holds, f"{words}, each from {in_words(low)} to {in_words(high)}", (low, high))


def in_words(number: float) -> str:
    """Write a bound, short.

    >>> in_words(2**31 - 1), in_words(2**20), in_words(10_000), in_words(1e6), in_words(0.5)
    ('2^31 - 1', '2^20', '10000', '10^6', '0.5')
    """
    if isinstance(number, int) and number > 10_000:
        for power, rest in ((number, ""), (number + 1, " - 1")):
            if power.bit_count() == 1:
                return f"2^{power.bit_length() - 1}{rest}"
    zeros = len(str(int(number))) - 1
    return f"10^{zeros}" if zeros > 5 and number == 10**zeros else f"{number:g}" if number < 1e6 else f"{number:,}"


fraction = at_least(0.0, 0.999999)
"""Check for a share that is never the whole, in 32 bits too: 0.99999999 would be 1."""

share = at_least(1e-6, 0.999999)
"""Check for a share that is neither nothing nor the whole."""

a_seed = Check(lambda value: True, "a whole number from 0 to 2^32 - 1", (0, 2**32 - 1))
"""Check for one word of 32 bits."""

not_empty = Check(bool, "at least one character")
"""Check for a text that is not empty."""
