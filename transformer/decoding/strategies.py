"""Strategies to choose the next token from its logits: a row of STRATEGIES each.

greedy    argmax
sampling  a draw from softmax(logits / temperature), of the k likeliest tokens and of the smallest set of likeliest
          ones that holds probability p     Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from transformer.axes import describe, has_numbers
from transformer.errors import problem
from transformer.ops.keys import as_key
from transformer.read_by import Condition, when
from transformer.schema import above, at_least, setting


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
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)


RANGES = {
    "temperature": above(0.0, 1e6),
    "top_k": at_least(1),
    "top_p": above(0.0, 1.0),
}
"""Setting of a strategy -> the check of its value."""


class Kind(NamedTuple):
    """The type of a setting of a strategy.

    Attributes:
        kinds: of its numbers, rows of `axes.KINDS`; none: integers and floats.
        optional: True where None stands for all tokens.
        traced: True where it may be any array of numbers, traced too; False: one number that is known.
        expected: the type, in words.
    """

    kinds: tuple[Any, ...]
    optional: bool
    traced: bool
    expected: str

    def holds(self, value: Any) -> bool:
        """Check that a value is of this type."""
        known = not isinstance(value, jax.core.Tracer) and np.shape(value) == ()
        return has_numbers(value, *self.kinds) and (known or self.traced)


KINDS = {
    "temperature": Kind((), False, True, "a number"),
    "top_k": Kind((jnp.integer,), True, False, "a whole number, known when it is compiled, or None"),
    "top_p": Kind((), True, False, "a number, known when it is compiled, or None"),
}
"""Setting of a strategy -> its type."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """A draw from the distribution, sharpened by the temperature and cut to its likeliest part.

    Attributes:
        temperature: divides the logits; above 0, may be traced. As it goes to 0, sampling becomes greedy.
        top_k: as many tokens at most, 1 or more; None: all.
        top_p: the least probability that the tokens kept hold together, after `top_k`; above 0; None or 1: all.

    Raises:
        UserError: no number, or one outside of its range, where it is known.
    """

    temperature: float | Array = 1.0
    top_k: int | None = None
    top_p: float | None = None
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, check in RANGES.items():
            value, kind = getattr(self, name), KINDS[name]
            if value is None and kind.optional:
                continue
            if not kind.holds(value):
                raise problem(f"{name} of sampling has the wrong type", got=describe(value), expected=kind.expected)
            expected = check(value) if isinstance(value, int | float | np.number) else None
            if expected is not None:
                raise problem(f"{name} of sampling is out of range", got=value, expected=expected)

    def choose(self, logits_BV: Float[Array, "B V"], key: Array | None = None) -> Int[Array, "B"]:
        """Choose the token of each example.

        Raises:
            UserError: no key.

        >>> Sampling(top_k=2).choose(jnp.eye(3), jax.random.key(0)).shape
        (3,)
        """
        if key is None:
            raise problem("sampling needs a random key", got="no key", do="Pass key=jax.random.key(...).")
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
        return logits_BV


def _divided(logits_BV: Array, temperature: float | Array) -> Array:
    """Divide the logits, less their largest one where the quotients leave the range of float32."""
    quotient_BV = logits_BV / temperature
    below_BV = logits_BV - jnp.max(logits_BV, axis=-1, keepdims=True)
    smallest = jnp.finfo(jnp.float32).tiny  # below it a divisor counts as 0
    in_range_B1 = jnp.isfinite(jnp.max(quotient_BV, axis=-1, keepdims=True))
    return jnp.where(in_range_B1, quotient_BV, below_BV / jnp.maximum(temperature, smallest))


STRATEGIES: dict[str, type[Greedy | Sampling]] = {"greedy": Greedy, "sampling": Sampling}


def settings_of(strategy: type[Greedy | Sampling]) -> tuple[str, ...]:
    """List the settings that a strategy reads: its fields.

    >>> settings_of(Sampling)
    ('temperature', 'top_k', 'top_p')
    """
    return tuple(field.name for field in dataclasses.fields(strategy))


def _strategies_with(name: str) -> Condition:
    """Return the condition of a setting of some strategies."""
    return when("decoding.strategy", *(row for row, strategy in STRATEGIES.items() if name in settings_of(strategy)))


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Settings of generation."""

    strategy: str = setting(
        "greedy",
        "choice of the next token: the likeliest (greedy), or a random one by its probability (sampling)",
        allowed=STRATEGIES,
    )
    max_new_tokens: int | None = setting(
        None, "maximum length of an answer (tokens); none: that of the longest training target", check=at_least(1)
    )
    temperature: float = setting(
        1.0,
        "divisor of the logits: below 1 likely tokens are drawn more often, above 1 less often",
        check=RANGES["temperature"],
        read_by=_strategies_with("temperature"),
    )
    top_k: int | None = setting(
        None,
        "number of the likeliest tokens to draw from; none: all",
        check=RANGES["top_k"],
        read_by=_strategies_with("top_k"),
    )
    top_p: float | None = setting(
        None,
        "total probability of the likeliest tokens to draw from; none: 1, all tokens",
        check=RANGES["top_p"],
        read_by=_strategies_with("top_p"),
    )

    def chosen(self) -> Greedy | Sampling:
        """Return the strategy with its settings."""
        row = STRATEGIES[self.strategy]
        return row(**{name: getattr(self, name) for name in settings_of(row)})
