"""Rules of fixed tokens: which may not be written, which must be, and when; no rule here reads what was written.

    MinLength(length, end)          no end before a length
    Banned(tokens, first_only)      tokens that are never written, or never first
    Forced(token, last)             the token of the first step, or of the last one

Where two rules contradict each other, the later one in the order of `rules` has the last word.
"""

import dataclasses
import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from transformer.decoding.rules import indices, require
from transformer.errors import problem
from transformer.schema import at_least


@dataclasses.dataclass(frozen=True)
class Stateless:
    """A base class of rules that read nothing of what was written."""

    def start(self, prompt_BP: Array, lengths_B: Array, steps: int) -> tuple[()]:
        return ()

    def read(self, state: tuple[()], token_B: Array, index: Array | int) -> tuple[()]:
        return state


@dataclasses.dataclass(frozen=True)
class MinLength(Stateless):
    """A minimum length of an answer: no end before it.

    Attributes:
        length: least number of tokens before the end token.
        end: the token that ends an answer, or several.

    Raises:
        UserError: no whole number of 0 or more; an end outside of the vocabulary.
    """

    length: int
    end: int | tuple[int, ...]

    def __post_init__(self) -> None:
        require("length of MinLength", self.length, at_least(0), int)

    def apply(
        self, logits_BV: Float[Array, "B V"], state: tuple[()], index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        given = self.end if isinstance(self.end, tuple) else (self.end,)
        is_end_1V = _is_one_of("the end of MinLength", given, logits_BV.shape[-1])
        return jnp.where(is_end_1V & (index < self.length), -jnp.inf, logits_BV)


@dataclasses.dataclass(frozen=True)
class Banned(Stateless):
    """Tokens that are not written. `transformers` has them as bad_words_ids of one token, and as suppress_tokens.

    Attributes:
        tokens: a token, or several.
        first_only: True: they may stand anywhere but at the first step (begin_suppress_tokens).

    Raises:
        UserError: no whole numbers; a token outside of the vocabulary.
    """

    tokens: SupportsIndex | Iterable[SupportsIndex]
    first_only: bool = False

    def __post_init__(self) -> None:
        given = self.tokens if isinstance(self.tokens, Iterable) else (self.tokens,)
        object.__setattr__(self, "tokens", tuple(_token("tokens of Banned", token) for token in given))

    def apply(
        self, logits_BV: Float[Array, "B V"], state: tuple[()], index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        banned_1V = _is_one_of("a token of Banned", self.tokens, logits_BV.shape[-1])
        holds = (index == 0) if self.first_only else True
        return jnp.where(banned_1V & holds, -jnp.inf, logits_BV)


@dataclasses.dataclass(frozen=True)
class Forced(Stateless):
    """The token of one step, with logit 0 and -inf for all others, as `transformers` has it.

    A beam adds 0 to the score of a hypothesis for it; the log-probability in the result is that of the model.

    Attributes:
        token: what is written.
        last: False: at the first step (forced_bos_token_id); True: at the last one of `steps`, in answers that no end
            has ended before (forced_eos_token_id).

    Raises:
        UserError: no whole number; a token outside of the vocabulary.
    """

    token: SupportsIndex
    last: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", _token("token of Forced", self.token))

    def apply(
        self, logits_BV: Float[Array, "B V"], state: tuple[()], index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        is_token_1V = _is_one_of("the token of Forced", (self.token,), logits_BV.shape[-1])
        forced_1V = jnp.where(is_token_1V, 0.0, -jnp.inf).astype(logits_BV.dtype)
        return jnp.where(index == (steps - 1 if self.last else 0), forced_1V, logits_BV)


def _token(what: str, value: Any) -> int:
    """Return a token as a whole number of Python, so that its rule can be hashed."""
    is_whole = isinstance(value, SupportsIndex) and not isinstance(value, bool)
    token = operator.index(value) if is_whole else value
    require(what, token, at_least(0), int)
    return int(token)


def _is_one_of(what: str, tokens: Any, size: int) -> Bool[Array, "1 V"]:
    """Return which tokens of the vocabulary are among these, as a row; tokens that are traced are not checked."""
    for token in tokens:
        if isinstance(token, int) and not 0 <= token < size:
            raise problem(
                f"{what} is outside of the vocabulary", got=token, expected=f"0 to {size - 1} (model.vocab_size)"
            )
    token_N1 = jnp.asarray(tokens, jnp.int32).reshape(-1, 1)
    return jnp.any(indices(size) == token_N1, axis=0, keepdims=True)
