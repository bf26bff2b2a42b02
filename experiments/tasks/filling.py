"""Texts with gaps, written <mask>, for models that learned to restore what is hidden.

text            "a <mask> c"
tokens          a, <mask> or a sentinel, c
predicted       masked: one token for each of the text's; span: a sentinel, then the tokens of its gap
filled          "a b c"

A gap between spaces reads as training read a hidden token, which may hold the space before it. The text around the gaps
comes back as it was written.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.tokenizers.tokens import SPACE, SpecialTokens, Tokenizer
from transformer.errors import problem

MASK_MARKER = "<mask>"


def read(text: str, tokenizer: Tokenizer, gap_ids: Sequence[int], *, ends: bool) -> Int32[np.ndarray, "S"]:
    """Encode a text, the i-th gap as `gap_ids[i]`; the end token is last where `ends`.

    Raises:
        UserError: no gap, or more than `gap_ids`.
    """
    pieces = text.split(MASK_MARKER)
    if len(pieces) == 1:
        raise problem(
            "the text has no gap to fill",
            got=repr(text[:60]),
            expected=f"{MASK_MARKER} in each place to guess",
            do=f"Did you mean {MASK_MARKER}?" if MASK_MARKER in text.lower() else None,
        )
    if len(pieces) - 1 > len(gap_ids):
        raise problem("the text has too many gaps", got=len(pieces) - 1, expected=f"at most {len(gap_ids)}")
    first, *others = tokenizer.encode_around_gaps(pieces)
    ids = [first]
    for gap, piece in zip(gap_ids, others, strict=False):
        ids += [np.array([gap], np.int32), piece]
    return np.concatenate([*ids, np.full(int(ends), SpecialTokens.end, np.int32)])


def fill(text: str, gaps: Sequence[Sequence[int]], tokenizer: Tokenizer) -> str:
    """Write what was predicted for each gap into the text; a space that the text has already is not written twice.

    Args:
        gaps: tokens of each gap.
    """
    pieces = text.split(MASK_MARKER)
    first, *others = tokenizer.encode_around_gaps(pieces)
    filled, before, gap = pieces[0], first.tolist(), []
    for number, (predicted, piece, ids) in enumerate(zip(gaps, pieces[1:], others, strict=True), start=1):
        gap += map(int, predicted)
        if not piece and number < len(gaps):  # gaps next to each other are decoded as one
            continue
        added = tokenizer.decode_after(before, gap)
        if tokenizer.space_before and filled.endswith(SPACE):
            added = added.removeprefix(SPACE)
        before += gap
        filled += added
        joined = gap and tokenizer.decode_after(before, ids).startswith(SPACE)
        filled += SPACE * bool(joined and not piece.startswith(SPACE) and not filled.endswith(SPACE)) + piece
        before, gap = before + ids.tolist(), []
    return filled


def fill_masks(text: str, predicted: Int[np.ndarray, "T"], tokenizer: Tokenizer, tokens: Int[np.ndarray, "S"]) -> str:
    """Fill each gap of a text with the token that was predicted in its place.

    Args:
        tokens: the text as it was read.
    """
    places = np.flatnonzero(np.asarray(tokens) == SpecialTokens.mask)
    return fill(text, [[predicted[place]] for place in places], tokenizer)


def fill_spans(text: str, predicted: Int[np.ndarray, "T"], tokenizer: Tokenizer, first_sentinel: int) -> str:
    """Fill each gap with the tokens predicted behind its sentinel; without its sentinel, a gap stays empty."""
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in map(int, predicted):
        if token >= first_sentinel:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return fill(text, [spans.get(first_sentinel + i, []) for i in range(text.count(MASK_MARKER))], tokenizer)
