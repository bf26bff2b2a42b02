"""Texts with gaps, written <mask>, for models that learned to restore what is hidden.

text            "a <mask> c"
tokens          a, <mask> or a sentinel, c
predicted       masked: one token for each of the text's; span: a sentinel, then the tokens of its gap
filled          "a b c"
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from experiments.data.tokenizers.tokens import SpecialTokens, Tokenizer
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
            "the text has no gap to fill", got=repr(text[:60]), expected=f"{MASK_MARKER} in each place to guess"
        )
    if len(pieces) - 1 > len(gap_ids):
        raise problem("the text has too many gaps", got=len(pieces) - 1, expected=f"at most {len(gap_ids)}")
    ids = [tokenizer.encode(pieces[0])]
    for gap, piece in zip(gap_ids, pieces[1:], strict=False):
        ids += [np.array([gap], np.int32), tokenizer.encode(piece)]
    return np.concatenate([*ids, np.full(int(ends), SpecialTokens.end, np.int32)])


def fill_masks(tokens: Int[np.ndarray, "S"], predicted: Int[np.ndarray, "T"], tokenizer: Tokenizer) -> str:
    """Decode a text with the token that was predicted for each gap."""
    return tokenizer.decode(np.where(tokens == SpecialTokens.mask, predicted[: len(tokens)], tokens))


def fill_spans(
    tokens: Int[np.ndarray, "S"], predicted: Int[np.ndarray, "T"], tokenizer: Tokenizer, first_sentinel: int
) -> str:
    """Decode a text with the tokens predicted behind each gap's sentinel; without its sentinel, a gap stays empty."""
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in map(int, predicted):
        if token >= first_sentinel:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    filled = [
        other for token in map(int, tokens) for other in (spans.get(token, []) if token >= first_sentinel else [token])
    ]
    return tokenizer.decode(np.array(filled, np.int64))
