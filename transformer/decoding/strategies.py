"""How the next token is chosen from its logits: a row of STRATEGIES each.

greedy    argmax
sampling  a draw from softmax(logits / temperature), of the k likeliest tokens and of the smallest set of likeliest
          ones that holds probability p     Holtzman et al. 2020, https://arxiv.org/abs/1904.09751
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from transformer.errors import problem
from transformer.schema import Check, above, at_least, setting


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The most likely token at each step."""

    random: ClassVar[bool] = False
    """Whether `choose` needs a key."""
    reads: ClassVar[tuple[str, ...]] = ()

    def choose(self, logits_BV: Float[Array, "B V"], key: Array | None = None) -> Int[Array, "B"]:
        """The token of each example."""
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """A draw from the distribution, sharpened by the temperature and cut to its likeliest part.

    Attributes:
        temperature: divides the logits; above 0, may be traced.
        top_k: as many tokens at most; None: all.
        top_p: the least probability that the tokens kept hold together, after `top_k`; None: all.
    """

    temperature: float | Array = 1.0
    top_k: int | None = None
    top_p: float | None = None
    random: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("temperature", "top_k", "top_p")

    def choose(self, logits_BV: Float[Array, "B V"], key: Array | None = None) -> Int[Array, "B"]:
        """The token of each example.

        Raises:
            UserError: no key.
        """
        if key is None:
            raise problem("sampling needs a random key", got="no key", do="Pass key=jax.random.key(...).")
        return jax.random.categorical(key, self.kept(logits_BV), axis=-1).astype(jnp.int32)

    def kept(self, logits_BV: Float[Array, "B V"]) -> Float[Array, "B V"]:
        """The logits over the temperature, -inf where a token is never drawn; of equals at a border all are kept."""
        logits_BV = logits_BV.astype(jnp.float32) / self.temperature
        if self.top_k is not None:
            lowest_B1 = jax.lax.top_k(logits_BV, min(self.top_k, logits_BV.shape[-1]))[0][:, -1:]
            logits_BV = jnp.where(logits_BV < lowest_B1, -jnp.inf, logits_BV)
        if self.top_p is not None:
            falling_BV = -jnp.sort(-logits_BV, axis=-1)
            share_BV = jax.nn.softmax(falling_BV, axis=-1)
            needed_BV = jnp.cumsum(share_BV, axis=-1) - share_BV < self.top_p  # what comes before is not yet enough
            lowest_B1 = jnp.min(jnp.where(needed_BV, falling_BV, jnp.inf), axis=-1, keepdims=True)
            logits_BV = jnp.where(logits_BV < lowest_B1, -jnp.inf, logits_BV)
        return logits_BV


STRATEGIES: dict[str, type[Greedy | Sampling]] = {"greedy": Greedy, "sampling": Sampling}

probability = Check(lambda value: 0.0 < value <= 1.0, "a number above 0, at most 1")


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How text is generated."""

    strategy: str = setting("greedy", "how the next token is chosen", allowed=STRATEGIES)
    max_new_tokens: int | None = setting(None, "most tokens generated; none: the longest target", check=at_least(1))
    temperature: float = setting(1.0, "sampling: divides the logits", check=above(0.0))
    top_k: int | None = setting(None, "sampling: of so many likeliest tokens; none: all", check=at_least(1))
    top_p: float | None = setting(
        None, "sampling: of the likeliest tokens that hold this probability; none: all", check=probability
    )

    def chosen(self) -> Greedy | Sampling:
        """The strategy with its settings."""
        row = STRATEGIES[self.strategy]
        return row(**{name: getattr(self, name) for name in row.reads})
