"""Few sizes for texts that come in any length and number, so that a stream of requests compiles few programs.

    lengths             16, 32, 64, ... tokens, and the data's longest text in the place of the first that holds it
    numbers of texts    1, 4, 16, 64, 256; the last that there is memory for also as often as needed

So texts one at a time, up to the data's longest, compile at most as many programs as there are `lengths`; texts in any
number at most 5 times as many. Texts beyond the data's longest compile one more with each doubling.
"""

SHORTEST = 16
"""Smallest padded length (tokens), the token that every layout adds included."""

COUNTS = (1, 4, 16, 64, 256)
"""Numbers of texts in a batch."""


def lengths(longest: int) -> list[int]:
    """List the padded lengths of texts up to the data's longest.

    >>> lengths(40), lengths(16), lengths(9)
    ([16, 32, 40], [16], [9])
    """
    doubled = [SHORTEST * 2**i for i in range(max(longest, 1).bit_length())]
    return [length for length in doubled if length < longest] + [longest]


def padded_length(length: int, longest: int, most: int | None = None) -> int:
    """Return the length to which a text is padded (tokens).

    Args:
        length: its own.
        longest: that of the data's longest text.
        most: most tokens that the model can hold; None: any number. A text beyond them is not shortened.

    >>> [padded_length(n, longest=40) for n in (3, 17, 33, 41, 100)]
    [16, 32, 40, 64, 128]
    >>> padded_length(33, longest=40, most=35)
    35
    """
    padded = next((size for size in lengths(longest) if length <= size), 0)
    if not padded:
        padded = SHORTEST
        while padded < length:
            padded *= 2
    return padded if most is None or most < length else min(padded, most)


def padded_count(count: int, most: int) -> int:
    """Return the number of texts in the batch that holds so many, or the largest where none does.

    Args:
        most: most texts in a batch.

    >>> [padded_count(n, most=100) for n in (1, 2, 16, 17, 99)]
    [1, 4, 16, 64, 64]
    """
    held = [size for size in COUNTS if size <= most] or [1]
    return next((size for size in held if count <= size), held[-1])
