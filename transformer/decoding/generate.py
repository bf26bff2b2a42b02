"""One loop for all models: choose a token, read it, until every example has ended.

    cache = model.start(params, prompt);  token = the prompt's last
    repeat: logits, cache = model.step(params, token, cache);  token = strategy(logits)

The loop is a `while` in one compiled program; nothing is computed after the last example's end token.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from transformer.errors import problem
from transformer.models.build import Batch, Model
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The most likely token at each step."""

    def choose(self, logits_BV: Float[Array, "B V"]) -> Int[Array, "B"]:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)


STRATEGIES = {"greedy": Greedy}


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How text is generated."""

    strategy: str = setting("greedy", "how the next token is chosen", allowed=STRATEGIES)
    max_new_tokens: int | None = setting(None, "most tokens generated; none: the longest target", check=at_least(1))


def generate(
    model: Model,
    params: Any,
    batch: Batch,
    *,
    steps: int,
    end: int | Array,
    strategy: Greedy = Greedy(),
    padding: int | Array = 0,
) -> Int[Array, "B steps"]:
    """Continues each example of a batch; pure, to be jitted with `steps` static.

    Args:
        batch: as for `model.start`.
        steps: most tokens generated.
        end: the token that ends an example; it is part of the result.
        padding: what stands after the end.

    Raises:
        UserError: fewer than one step, or what `model.start` raises.
    """
    if steps < 1:
        raise problem("nothing to generate", got=f"{steps} steps", expected="1 or more")
    cache = model.start(params, batch, steps=steps)
    first_B = _last_of_prompt(batch)
    tokens_BM = jnp.full((first_B.shape[0], steps), padding, jnp.int32)
    ended_B = jnp.zeros(first_B.shape, bool)

    def going(state: tuple) -> Array:
        index, _, _, ended_B, _ = state
        return (index < steps) & ~jnp.all(ended_B)

    def advance(state: tuple) -> tuple:
        index, last_B, tokens_BM, ended_B, cache = state
        logits_BV, cache = model.step(params, last_B, cache)
        chosen_B = jnp.where(ended_B, padding, strategy.choose(logits_BV))
        tokens_BM = jax.lax.dynamic_update_slice(tokens_BM, chosen_B[:, None], (0, index))
        return index + 1, chosen_B, tokens_BM, ended_B | (chosen_B == end), cache

    state = (jnp.zeros((), jnp.int32), first_B, tokens_BM, ended_B, cache)
    return jax.lax.while_loop(going, advance, state)[2]


def _last_of_prompt(batch: Batch) -> Array:
    """The token that the first step reads; an encoder-only model has none and ignores it."""
    if "target_lengths" not in batch:
        return jnp.zeros(len(batch["source"]), jnp.int32)
    last_B1 = jnp.asarray(batch["target_lengths"])[:, None] - 1
    return jnp.take_along_axis(jnp.asarray(batch["target"]), last_B1, axis=1)[:, 0].astype(jnp.int32)
