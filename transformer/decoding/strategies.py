"""Strategies to choose the next token from its logits, or the answer; `config.STRATEGIES` lists them.

greedy    argmax
sampling  a draw from softmax(logits / temperature), of the k likeliest tokens and of the smallest set of likeliest
          ones that holds probability p     Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
          of those at least min_p times as likely as the likeliest one     Nguyen et al. 2024, 2407.01082
beam      the answer of the best score among those that continue the W best beginnings; see `beam`
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from transformer.axes import describe, has_numbers
from transformer.errors import UserError, problem
from transformer.ops.keys import as_key
from transformer.ops.top_k import top_k
from transformer.schema import above, at_least


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The most likely token at each step."""

    random: ClassVar[bool] = False
    """True where `choose` needs a key."""

    def choose(self, logits_BV: Float[Array, "B V"], key: Array | None = None) -> Int[Array, "B"]:
        """Choose the token of each example.

        >>> Greedy().choose(jnp.eye(3)).shape
        (3,)
        """
        return top_k(logits_BV, 1)[1][:, 0]


RANGES = {
    "temperature": above(0.0, 1e6),
    "top_k": at_least(1),
    "top_p": above(0.0, 1.0),
    "min_p": above(0.0, 1.0),
    "width": at_least(1),
    "length_penalty": at_least(-100.0, 100.0),
    "num_return": at_least(1),
    "repetition_penalty": above(0.0, 1e6),
    "no_repeat_ngram": at_least(1),
}
"""Setting of a strategy or a rule -> the check of its value."""


class Kind(NamedTuple):
    """The type of a setting of a strategy.

    Attributes:
        kinds: of its numbers, rows of `axes.KINDS`; none: integers and floats.
        optional: True where None stands for all tokens.
        traced: True where the number may be traced; False: it must be known.
        expected: the type, in words.
    """

    kinds: tuple[Any, ...]
    optional: bool
    traced: bool
    expected: str

    def holds(self, value: Any) -> bool:
        """Check that a value is of this type."""
        known = not isinstance(value, jax.core.Tracer)
        return has_numbers(value, *self.kinds) and np.shape(value) == () and (known or self.traced)


KINDS = {
    "temperature": Kind((), False, True, "a number"),
    "top_k": Kind((jnp.integer,), True, False, "a whole number, known when it is compiled, or None"),
    "top_p": Kind((), True, False, "a number, known when it is compiled, or None"),
    "min_p": Kind((), True, False, "a number, known when it is compiled, or None"),
    "width": Kind((jnp.integer,), False, False, "a whole number, known when it is compiled"),
    "length_penalty": Kind((), False, False, "a number, known when it is compiled"),
    "num_return": Kind((jnp.integer,), True, False, "a whole number, known when it is compiled, or None"),
}
"""Setting of a strategy -> its type."""


def _check(strategy: Any, name_of_strategy: str) -> None:
    """Raise a UserError for a setting of a strategy of another type, or outside of its range where it is known."""
    for name in (field.name for field in dataclasses.fields(strategy) if field.name in RANGES):
        value, kind, check = getattr(strategy, name), KINDS[name], RANGES[name]
        if value is None and kind.optional:
            continue
        if not kind.holds(value):
            what = f"{name} of {name_of_strategy} has the wrong type"
            raise problem(what, got=describe(value), expected=kind.expected)
        expected = None if isinstance(value, jax.core.Tracer) else check(np.asarray(value).item())
        if expected is not None:
            raise problem(f"{name} of {name_of_strategy} is out of range", got=value, expected=expected)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """A draw from the distribution, sharpened by the temperature and cut to its likeliest part.

    Attributes:
        temperature: divides the logits; above 0, may be traced. As it goes to 0, sampling becomes greedy.
        top_k: as many tokens at most, 1 or more; None: all.
        top_p: the least probability that the tokens kept hold together, after `top_k`; above 0; None or 1: all.
        min_p: the least probability of a token that is kept, as a share of the likeliest one's, after `top_p`; None:
            all.

    Raises:
        UserError: no number, or one outside of its range, where it is known.
    """

    temperature: float | Array = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self, "sampling")

    def choose(self, logits_BV: Float[Array, "B V"], key: Array | None = None) -> Int[Array, "B"]:
        """Choose the token of each example.

        Raises:
            UserError: no key.

        >>> Sampling(top_k=2).choose(jnp.eye(3), jax.random.key(0)).shape
        (3,)
        """
        if key is None:
            raise no_key()
        return jax.random.categorical(as_key(key), self.filtered(logits_BV), axis=-1).astype(jnp.int32)

    def filtered(self, logits_BV: Float[Array, "B V"]) -> Float[Array, "B V"]:
        """Divide the logits by the temperature, and set those of tokens that are never drawn to -inf.

        Of tokens with equal logits at the border of `top_k` or `top_p` all stay.

        >>> Sampling(temperature=0.5, top_p=0.9).filtered(jnp.eye(3)).shape
        (3, 3)
        """
        logits_BV = _divided(logits_BV.astype(jnp.float32), self.temperature)
        if self.top_k is not None:
            lowest_B1 = jax.lax.top_k(logits_BV, min(self.top_k, logits_BV.shape[-1]))[0][:, -1:]
            logits_BV = jnp.where(logits_BV < lowest_B1, -jnp.inf, logits_BV)
        if self.top_p is not None and self.top_p < 1:
            falling_BV = -jnp.sort(-logits_BV, axis=-1)
            share_BV = jax.nn.softmax(falling_BV, axis=-1)
            needed_BV = jnp.cumsum(share_BV, axis=-1) - share_BV < self.top_p  # what comes before is not yet enough
            needed_BV = needed_BV.at[:, 0].set(True)  # also where top_p is rounded to 0
            lowest_B1 = jnp.min(jnp.where(needed_BV, falling_BV, jnp.inf), axis=-1, keepdims=True)
            logits_BV = jnp.where(logits_BV < lowest_B1, -jnp.inf, logits_BV)
        if self.min_p is not None:
            lowest_B1 = jnp.max(logits_BV, axis=-1, keepdims=True) + jnp.log(jnp.float32(self.min_p))
            logits_BV = jnp.where(logits_BV < lowest_B1, -jnp.inf, logits_BV)
        return logits_BV


def _divided(logits_BV: Array, temperature: float | Array) -> Array:
    """Divide the logits, less their largest one where the quotients leave the range of float32."""
    quotient_BV = logits_BV / temperature
    below_BV = logits_BV - jnp.max(logits_BV, axis=-1, keepdims=True)
    smallest = jnp.finfo(jnp.float32).tiny  # below it a divisor counts as 0
    in_range_B1 = jnp.isfinite(jnp.max(quotient_BV, axis=-1, keepdims=True))
    return jnp.where(in_range_B1, quotient_BV, below_BV / jnp.maximum(temperature, smallest))


@dataclasses.dataclass(frozen=True)
class Beam:
    """Beam search.

    Attributes:
        width: number of beginnings that are continued side by side, W.
        length_penalty: an answer scores log-probability / length ** length_penalty; 0: log-probability.
        early_stopping: when an example is done: True: with W answers; False: where the best beginning, ended now, would
            score no better than the worst of W answers; "never": where it could not with `steps` tokens either.
        num_return: number of answers of each example, at most W; None: the best one, without an axis of its own.

    Raises:
        UserError: a value of another type or outside of its range.
    """

    width: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return: int | None = None
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self, "a beam")
        if self.early_stopping not in (True, False, "never"):
            what = "early_stopping of a beam is wrong"
            raise problem(what, got=repr(self.early_stopping), expected='True, False or "never"')
        if self.num_return is not None and self.num_return > self.width:
            what = "num_return of a beam is more than its width"
            raise problem(what, got=self.num_return, expected=f"at most {self.width}")


def is_strategy(value: Any) -> bool:
    """Return whether an object has the members of a strategy; a Beam has a search in the place of `choose`.

    >>> is_strategy(Greedy()), is_strategy(Greedy)
    (True, False)
    """
    chooses = callable(getattr(value, "choose", None)) or isinstance(value, Beam)
    return not isinstance(value, type) and chooses and isinstance(getattr(value, "random", None), bool)


def no_key() -> UserError:
    """Build the error for a strategy that draws without a key.

    >>> str(no_key())
    'sampling needs a random key; got no key; expected a key or a seed. Pass key=jax.random.key(...).'
    """
    do = "Pass key=jax.random.key(...)."
    return problem("sampling needs a random key", got="no key", expected="a key or a seed", do=do)
