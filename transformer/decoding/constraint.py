"""Constraints on answers: a table of states x tokens with the next state, so that a step is a look-up under `jax.jit`.

    only([3, 4], vocab_size=9, end=1)             these tokens alone
    any_of([[3, 4], [5]], vocab_size=9, end=1)    one of these answers: a trie
    matching(r"\\d{4}", texts, end=1)             answers whose text matches a regular expression as a whole

A constraint is a rule of `generate`, for every strategy. A token is refused, too, where the answer could not be brought
to its end in the steps that are left, so no answer breaks its constraint, whatever `steps` is (Willard and Louf 2023,
2307.09702, have the table of a regular expression).
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from transformer.errors import UserError, problem, shorten

REFUSED = -1
"""Next state of a token that may not be written."""

ENDLESS = 2**31 - 1
"""Number of tokens to the end of an answer in a state that leads to none."""


@dataclasses.dataclass(frozen=True, eq=False)
class Constraint:
    """A rule: what may follow is a function of a state, and the next state one of state and token.

    Attributes:
        table: next state, S V, -1 where a token may not be written; state 0 is the first.
        complete: S booleans: True where an answer may stop; an answer with an end token stops behind it.
        left: the least number of tokens that an answer in a state needs, S; computed.

    Raises:
        UserError: no answer obeys it, or the table leads to a state that it has not.
    """

    table: Int[np.ndarray, "S V"]
    complete: np.ndarray
    left: np.ndarray = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        states = len(self.table)
        if self.table.size and not REFUSED <= self.table.min() <= self.table.max() < states:
            got, expected = f"state {self.table.max()}", f"{REFUSED}, or a state from 0 to {states - 1}"
            raise problem("the table of a constraint leads to no state", got=got, expected=expected)
        object.__setattr__(self, "left", _tokens_left(self.table, self.complete))
        if self.left[0] == ENDLESS:
            raise problem("a constraint that no answer obeys", got="no tokens lead to an answer that it allows")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constraint) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    @functools.cached_property
    def _bytes(self) -> tuple[tuple[int, ...], bytes, bytes]:
        return self.table.shape, self.table.tobytes(), self.complete.tobytes()

    def start(self, prompt_BP: Array, lengths_B: Array, steps: int) -> Int[Array, "B"]:
        """Return the first state of each example. Raises a UserError where no answer is so short."""
        if steps < self.left[0]:
            what = "a constraint needs longer answers than may be written"
            raise problem(what, got=f"{steps} tokens", expected=f"{self.left[0]} or more", do="Give more steps.")
        return jnp.zeros(prompt_BP.shape[0], jnp.int32)

    def apply(self, logits_BV: Float[Array, "B V"], state: Int[Array, "B"], index: Array | int, steps: int) -> Array:
        """Set the logits of tokens that may not be written to -inf."""
        if logits_BV.shape[-1] != self.table.shape[1]:
            what, got = "a constraint is of another vocabulary", f"{self.table.shape[1]} tokens"
            raise problem(what, got=got, expected=f"{logits_BV.shape[-1]} (model.vocab_size)")
        next_BV = jnp.asarray(self.table)[state]
        left_BV = jnp.asarray(self.left)[jnp.maximum(next_BV, 0)]
        return jnp.where((next_BV >= 0) & (left_BV < steps - index), logits_BV, -jnp.inf)

    def read(self, state: Int[Array, "B"], token_B: Int[Array, "B"], index: Array | int) -> Int[Array, "B"]:
        """Return the states after a token; padding behind an end changes none."""
        next_B = jnp.asarray(self.table)[state, token_B]
        return jnp.where(next_B >= 0, next_B, state)


def only(tokens: Sequence[int], vocab_size: int, end: int | None) -> Constraint:
    """Build the constraint to these tokens, and the end token where there is one.

    Raises:
        UserError: no token, or one outside of the vocabulary.

    >>> only([3, 4], vocab_size=6, end=1).table.tolist()  # behind the end token, nothing
    [[-1, 1, -1, 0, 0, -1], [-1, -1, -1, -1, -1, -1]]
    """
    allowed = _tokens("tokens", tokens, vocab_size)
    table = np.full((2, vocab_size), REFUSED, np.int32)
    table[0, allowed] = 0
    return _with_end(table, np.array([True, True]), end)


def any_of(answers: Sequence[Sequence[int]], vocab_size: int, end: int | None) -> Constraint:
    """Build the constraint to one of these answers, without their end token, as a trie.

    Raises:
        UserError: no answer, one without a token, or a token outside of the vocabulary.

    >>> any_of([[3, 4], [5]], vocab_size=6, end=1).left.tolist()  # tokens to the end, from each state
    [2, 2, 1, 1, 0]
    """
    children: list[dict[int, int]] = [{}]
    last = set()
    for number, answer in enumerate(answers):
        state = 0
        for token in _tokens(f"answers[{number}]", answer, vocab_size):
            if token not in children[state]:
                children[state][token] = len(children)
                children.append({})
            state = children[state][token]
        last.add(state)
    if not last:
        raise problem("a constraint without an answer", got="[]", expected="one or more")
    table = np.full((len(children) + 1, vocab_size), REFUSED, np.int32)
    for state, following in enumerate(children):
        table[state, list(following)] = list(following.values())
    return _with_end(table, np.array([state in last for state in range(len(table))]), end)


def matching(
    pattern: str, texts: Sequence[str | None], end: int | None, first: Sequence[str | None] | None = None
) -> Constraint:
    """Build the constraint to answers whose text matches a regular expression as a whole.

    Args:
        pattern: of Python, without look-around, back references and anchors.
        texts: text that each token of the vocabulary adds to the tokens before it; None: a token that may not be
            written.
        first: the same of the first token of an answer, such as one without the space before a word; None: `texts`.

    Raises:
        UserError: a pattern that is none, or that no tokens of the vocabulary can make; no package interegular.

    >>> constraint = matching("a+b", [None, None, "a", "b", "ab"], end=1)
    >>> (constraint.table[0] >= 0).tolist()  # what an answer may begin with
    [False, False, True, False, True]
    """
    try:
        import interegular  # what only constraints need is imported on use
    except ImportError as error:
        what = "a constraint by a regular expression needs the package interegular"
        raise problem(what, got="none", do="Install it: pip install interegular") from error
    if not isinstance(pattern, str):
        do = "Pass a text, or leave the constraint out."
        raise problem("a constraint is a regular expression", got=repr(pattern), expected="a text", do=do)
    try:
        re.compile(pattern)
        machine = interegular.parse_pattern(pattern).to_fsm().reduce()
    except (re.error, interegular.InvalidSyntax, interegular.Unsupported, NotImplementedError) as error:
        reason = str(error) or "a bracket or a brace may be open"
        what = f"the constraint {shorten(repr(pattern))} cannot be read: {shorten(reason)}"
        expected = "a regular expression without look-around, back references and anchors"
        raise problem(what, expected=expected) from error
    number = {state: i for i, state in enumerate(machine.states)}
    refused = len(number)  # a state beyond them, from which every symbol leads back to it
    symbols = list(machine.alphabet.values())  # none in an empty pattern
    by_symbol = np.full((refused + 1, 1 + max(symbols, default=0)), refused, np.int32)
    for state, following in machine.map.items():
        for symbol, other in following.items():
            by_symbol[number[state], symbol] = number[other]

    def after(state: np.ndarray, text: str) -> np.ndarray:
        for character in text:
            state = by_symbol[state, machine.alphabet[character] if symbols else 0]
        return np.where(state == refused, REFUSED, state + 1)

    begin = np.array([number[machine.initial]])
    table = np.full((refused + 2, len(texts)), REFUSED, np.int32)  # before the first token, the states, behind the end
    for token, (text, at_first) in enumerate(zip(texts, texts if first is None else first, strict=True)):
        if at_first:
            table[0, token] = after(begin, at_first)[0]
        if text:
            table[1:-1, token] = after(np.arange(refused), text)
    final = [state in machine.finals for state in machine.states]
    complete = np.array([machine.initial in machine.finals, *final, False])
    try:
        return _with_end(table, complete, end)
    except UserError as error:
        if end is not None and not 0 <= end < len(texts):
            raise
        what = "no tokens of the vocabulary make a text that matches a constraint"
        expected, do = "a text of the tokens that may be written", "Change the pattern, or its spaces and capitals."
        raise problem(what, got=shorten(repr(pattern)), expected=expected, do=do) from error


def _with_end(table: np.ndarray, complete: np.ndarray, end: int | None) -> Constraint:
    """Return a constraint whose complete answers end with the end token; the last state of the table is free for it."""
    if end is None:
        return Constraint(table, complete)
    after, size = len(table) - 1, table.shape[1]
    if not 0 <= end < size:
        expected = f"0 to {size - 1}, or None where no token ends an answer"
        raise problem("the end of a constraint is outside of the vocabulary", got=end, expected=expected)
    table[:, end] = np.where(complete, after, REFUSED)
    table[after] = REFUSED
    return Constraint(table, np.arange(len(table)) == after)


def _tokens(what: str, tokens: Sequence[int], vocab_size: int) -> list[int]:
    """Return tokens, checked."""
    given = np.asarray(tokens).reshape(-1)
    found = [int(token) for token in given] if np.issubdtype(given.dtype, np.integer) else []
    if not found or not all(0 <= token < vocab_size for token in found):
        expected = f"one or more whole numbers from 0 to {vocab_size - 1}"
        raise problem(
            f"{what} of a constraint are none of the vocabulary", got=shorten(repr(tokens)), expected=expected
        )
    return found


def _tokens_left(table: np.ndarray, complete: np.ndarray) -> np.ndarray:
    """Compute the least number of tokens from each state to one that is complete."""
    left = np.where(complete, 0, ENDLESS).astype(np.int64)
    reaches = np.unique(np.stack([*np.nonzero(table >= 0), table[table >= 0]])[[0, 2]], axis=1)
    for _ in range(len(table)):
        shorter = left.copy()
        np.minimum.at(shorter, reaches[0], left[reaches[1]] + 1)
        if (shorter == left).all():
            break
        left = shorter
    return np.minimum(left, ENDLESS).astype(np.int32)
