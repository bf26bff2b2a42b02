"""One loop for all models: choose a token, read it, until every example has ended.

    cache = model.start(params, prompt);  token = the prompt's last
    repeat: logits, cache = model.step(params, token, cache);  token = strategy.choose(logits)

The loop is a `while` in one compiled program; nothing is computed after the last example's end token.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from transformer.decoding.strategies import Greedy, Sampling
from transformer.errors import problem
from transformer.models.build import Batch, Model


def generate(
    model: Model,
    params: Any,
    batch: Batch,
    *,
    steps: int,
    end: int | Array,
    strategy: Greedy | Sampling = Greedy(),
    padding: int | Array = 0,
    key: Array | None = None,
) -> Int[Array, "B steps"]:
    """Continues each example of a batch; pure, to be jitted with `steps` static.

    Args:
        batch: as for `model.start`.
        steps: most tokens generated.
        end: the token that ends an example; it is part of the result.
        padding: what stands after the end.
        key: for a strategy that draws; token i of the batch is a function of (key, i) and its logits.

    Raises:
        UserError: fewer than one step, a strategy that draws without a key, or what `model.start` raises.
    """
    if steps < 1:
        raise problem("nothing to generate", got=f"{steps} steps", expected="1 or more")
    if strategy.random and key is None:
        raise problem("sampling needs a random key", got="no key", do="Pass key=jax.random.key(...).")
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
        drawn = None if key is None else jax.random.fold_in(key, index)
        chosen_B = jnp.where(ended_B, padding, strategy.choose(logits_BV, drawn))
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
