"""Rules: what may be written next, as a function of what was written; they hold for every strategy.

    rule.start(prompt_BP, lengths_B, steps)      state of a rule before the first token
    rule.apply(logits_BV, state, index, steps)   the logits of token `index` of at most `steps`, -inf for what may not
                                                 be written
    rule.read(state, token_B, index)             state after token `index`

A state is a tree of arrays with a leading B; a beam copies and reorders them with its hypotheses. Greedy decoding and
sampling apply rules to logits, a beam to log-probabilities, as `transformers` does.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from transformer.axes import describe
from transformer.decoding.strategies import RANGES
from transformer.errors import problem

State = Any
"""A tree of arrays with a leading B."""


class Stop(NamedTuple):
    """The end of answers.

    Attributes:
        ends: tokens that end an answer.
        padding: what stands behind the end.
    """

    ends: tuple[Array, ...]
    padding: Array

    def is_end(self, tokens: Array) -> Array:
        """Return which tokens end an answer, as booleans of their shape."""
        found = jnp.zeros(tokens.shape, bool)
        for end in self.ends:
            found |= tokens == end
        return found


@runtime_checkable
class Rule(Protocol):
    """The interface of a rule. One that is hashable lets `generate` keep its compiled program between calls."""

    def start(self, prompt_BP: Array, lengths_B: Array, steps: int) -> State: ...

    def apply(self, logits_BV: Array, state: State, index: Array | int, steps: int) -> Array: ...

    def read(self, state: State, token_B: Array, index: Array | int) -> State: ...


@dataclasses.dataclass(frozen=True)
class Rules:
    """Several rules as one.

    Attributes:
        rules: applied in this order.
        steps: most tokens that are written.
    """

    rules: tuple[Rule, ...]
    steps: int

    def start(self, batch: Mapping[str, Any], examples: int) -> tuple[State, ...]:
        """Return the states of all rules before the first token; the prompt is `target`, if there is one."""
        if "target" in batch and "target_lengths" in batch:
            prompt_BP, lengths_B = (
                jnp.asarray(batch["target"], jnp.int32),
                jnp.asarray(batch["target_lengths"], jnp.int32),
            )
        else:
            prompt_BP, lengths_B = jnp.zeros((examples, 0), jnp.int32), jnp.zeros(examples, jnp.int32)
        return tuple(rule.start(prompt_BP, lengths_B, self.steps) for rule in self.rules)

    def apply(self, logits_BV: Array, states: tuple[State, ...], index: Array | int) -> Array:
        """Apply all rules."""
        for rule, state in zip(self.rules, states, strict=True):
            logits_BV = rule.apply(logits_BV, state, index, self.steps)
        return logits_BV

    def read(self, states: tuple[State, ...], token_B: Array, index: Array | int) -> tuple[State, ...]:
        """Return the states of all rules after a token."""
        return tuple(rule.read(state, token_B, index) for rule, state in zip(self.rules, states, strict=True))


class Written(NamedTuple):
    """A state: the prompt and what was written behind it.

    Attributes:
        tokens: B L.
        lengths: number of tokens, B.
    """

    tokens: Int[Array, "B L"]
    lengths: Int[Array, "B"]


@dataclasses.dataclass(frozen=True)
class ReadsWritten:
    """A base class of rules whose state is the prompt and all that was written."""

    def start(self, prompt_BP: Array, lengths_B: Array, steps: int) -> Written:
        B = prompt_BP.shape[0]
        return Written(jnp.concatenate([prompt_BP, jnp.zeros((B, steps), prompt_BP.dtype)], axis=1), lengths_B)

    def read(self, state: Written, token_B: Array, index: Array | int) -> Written:
        here_BL = indices(state.tokens.shape[1]) == state.lengths[:, None]
        return Written(jnp.where(here_BL, token_B[:, None], state.tokens), state.lengths + 1)


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty(ReadsWritten):
    """A penalty on tokens of the prompt and of the answer: positive logits are divided by it, negative ones multiplied.

    Keskar et al. 2019, 1909.05858, section 4.1, as `transformers` has it.

    Attributes:
        penalty: above 1: repetitions are less likely; above 0.

    Raises:
        UserError: no number above 0.
    """

    penalty: float

    def __post_init__(self) -> None:
        require("penalty of RepetitionPenalty", self.penalty, RANGES["repetition_penalty"], float)

    def apply(
        self, logits_BV: Float[Array, "B V"], state: Written, index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        B, V = logits_BV.shape
        is_token_BL = indices(state.tokens.shape[1]) < state.lengths[:, None]
        at_BL = jnp.where(is_token_BL, state.tokens, V)
        seen_BV = jnp.zeros((B, V), bool).at[indices(B).T, at_BL].set(True, mode="drop")
        less_BV = jnp.where(logits_BV < 0, logits_BV * self.penalty, logits_BV / self.penalty)
        return jnp.where(seen_BV, less_BV, logits_BV)


@dataclasses.dataclass(frozen=True)
class NoRepeatNgram(ReadsWritten):
    """No n tokens in a row that stand in the prompt or the answer already. Paulus et al. 2018, 1705.04304, section 2.5.

    Attributes:
        size: n; 1: no token twice.

    Raises:
        UserError: no whole number of 1 or more.
    """

    size: int

    def __post_init__(self) -> None:
        require("size of NoRepeatNgram", self.size, RANGES["no_repeat_ngram"], int)

    def apply(
        self, logits_BV: Float[Array, "B V"], state: Written, index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        tokens_BL, lengths_B = state
        (B, L), V, n = tokens_BL.shape, logits_BV.shape[-1], self.size
        if n > L:
            return logits_BV
        at_BN = lengths_B[:, None] - (n - 1) + indices(n - 1)
        last_BN = jnp.take_along_axis(tokens_BL, at_BN, axis=1, mode="clip")
        starts = L - n + 1
        same_BS = indices(starts) + n <= lengths_B[:, None]
        for i in range(n - 1):
            same_BS &= tokens_BL[:, i : i + starts] == last_BN[:, i : i + 1]
        next_BS = jnp.where(same_BS, tokens_BL[:, n - 1 :], V)
        banned_BV = jnp.zeros((B, V), bool).at[indices(B).T, next_BS].set(True, mode="drop")
        return jnp.where(banned_BV, -jnp.inf, logits_BV)


@dataclasses.dataclass(frozen=True)
class Allowed(ReadsWritten):
    """A function of what was written that returns the tokens that may follow.

    Attributes:
        function: (tokens B L, lengths B) -> booleans that broadcast to B V; the tokens are those of the prompt and of
            the answer, valid before each length. It is traced. Where it allows no token, the logits are all -inf.
    """

    function: Callable[[Array, Array], Bool[Array, "B V"]]

    def apply(
        self, logits_BV: Float[Array, "B V"], state: Written, index: Array | int, steps: int
    ) -> Float[Array, "B V"]:
        allowed = jnp.asarray(self.function(state.tokens, state.lengths))
        if not _broadcasts(allowed.shape, logits_BV.shape):
            what, expected = (
                "what the function of Allowed returns does not fit",
                f"booleans B V = {logits_BV.shape}, or V",
            )
            raise problem(what, got=describe(allowed), expected=expected)
        return jnp.where(allowed, logits_BV, -jnp.inf)


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether an array of one shape can be broadcast to the other."""
    return len(shape) <= len(other) and all(m in (1, n) for m, n in zip(reversed(shape), reversed(other), strict=False))


def indices(count: int) -> Int[Array, "1 count"]:
    """Return 0, 1, ..., count - 1, as a row.

    >>> indices(3).tolist()
    [[0, 1, 2]]
    """
    return jnp.arange(count, dtype=jnp.int32)[None]


def require(what: str, value: Any, check: Callable[[Any], str | None], kind: type) -> None:
    """Raise a UserError unless a value is a number of this kind and passes the check.

    >>> from transformer.schema import at_least
    >>> require("size of NoRepeatNgram", 2, at_least(1), int)
    """
    is_number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    expected = check(value) if is_number else "a number" if kind is float else "a whole number"
    if expected is not None:
        raise problem(f"{what} is wrong", got=value if is_number else repr(value), expected=expected)
