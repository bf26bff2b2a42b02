"""Texts with gaps, written <mask>, for models that learned to guess what is hidden."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.tokenizers.tokens import SpecialTokens, Tokenizer
from transformer.errors import problem

MASK_MARKER = "<mask>"


def read(text: str, tokenizer: Tokenizer, gaps: Sequence[int], *, ends: bool) -> Int32[np.ndarray, "S"]:
    """The tokens of a text, the i-th gap as `gaps[i]`; the end token last where `ends`.

    Raises:
        UserError: no gap, or more than `gaps`.
    """
    pieces = text.split(MASK_MARKER)
    if len(pieces) == 1:
        raise problem(
            "the text has no gap to fill", got=repr(text[:60]), expected=f"{MASK_MARKER} in each place to guess"
        )
    if len(pieces) - 1 > len(gaps):
        raise problem("the text has too many gaps", got=len(pieces) - 1, expected=f"at most {len(gaps)}")
    ids = [tokenizer.encode(pieces[0])]
    for gap, piece in zip(gaps, pieces[1:], strict=False):
        ids += [np.array([gap], np.int32), tokenizer.encode(piece)]
    return np.concatenate([*ids, np.full(int(ends), SpecialTokens.end, np.int32)])


def fill_masks(tokens: Int[np.ndarray, "S"], guessed: Int[np.ndarray, "M"], tokenizer: Tokenizer) -> str:
    """The text with the token guessed in the place of each gap."""
    return tokenizer.decode(np.where(tokens == SpecialTokens.mask, guessed[: len(tokens)], tokens))


def fill_spans(
    tokens: Int[np.ndarray, "S"], said: Int[np.ndarray, "M"], tokenizer: Tokenizer, first_sentinel: int
) -> str:
    """The text with what was said after each gap's sentinel in its place; nothing for one that was not said."""
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in map(int, said):
        if token >= first_sentinel:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    filled = [
        other for token in map(int, tokens) for other in (spans.get(token, []) if token >= first_sentinel else [token])
    ]
    return tokenizer.decode(np.array(filled, np.int64))
