"""One loop for all models: choose a token, read it, until every example has ended.

    logits, cache, _ = model.start(params, prompt);       token = strategy.choose(logits)
    repeat: logits, cache, _ = model.step(params, token, cache);  token = strategy.choose(logits)

The loop is a `while` in one compiled program; nothing is computed after the last example's end token.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Int

from transformer.axes import describe
from transformer.decoding.strategies import Greedy, Sampling
from transformer.errors import problem
from transformer.models.batch import known
from transformer.models.build import Batch, Cache, Model, Params
from transformer.models.entries import whole_numbers
from transformer.ops.keys import as_key

State = tuple[Array, Array, Array, Array, Cache]
"""Index of the next token, the last tokens B, all tokens B T, booleans B of the ended examples, and the cache."""


def generate(
    model: Model,
    params: Params,
    batch: Batch | ArrayLike,
    *,
    steps: int,
    end: int | Array | None,
    strategy: Greedy | Sampling = Greedy(),
    padding: int | Array = 0,
    key: ArrayLike | None = None,
) -> Int[Array, "B steps"]:
    """Continue each example of a batch; pure, to be jitted with `steps` static.

    Args:
        batch: as for `model.start`.
        steps: most tokens generated.
        end: the token that ends an example; it is part of the result. None: no token does.
        padding: what stands after the end.
        key: a key or a seed, for a strategy that draws; token i of the batch is a function of (key, i) and its logits.

    Raises:
        UserError: no model, an end outside of the vocabulary, no strategy, one that draws without a key, or what
            `model.start` raises.

    Returns:
        The tokens of each example; `padding` after its end token, and from where on its logits are NaN (see
        `model.start`).

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> generate(model, model.init(jax.random.key(0)), prompt, steps=4, end=2).shape
    (2, 4)
    """
    if not hasattr(model, "start") or not hasattr(model, "step"):
        do = "Write generate(model, params, batch, ...)."
        raise problem("not a model", got=describe(model), expected="the result of transformer.build", do=do)
    if isinstance(strategy, type) or not hasattr(strategy, "choose") or not hasattr(strategy, "random"):
        expected = "Greedy(), Sampling(...), or an object with their methods"
        raise problem("not a strategy", got=repr(strategy), expected=expected, do="Pass Greedy() or Sampling(...).")
    if strategy.random and key is None:
        raise problem(
            "sampling needs a random key", got="no key", expected="a key or a seed", do="Pass key=jax.random.key(...)."
        )
    end = None if end is None else _token(end, model.config.vocab_size or 0)
    padding = jnp.asarray(whole_numbers("padding", padding))
    typed = None if key is None else as_key(key)
    logits_BV, cache, _ = model.start(params, batch, steps=steps)
    B = logits_BV.shape[0]

    def choose(index: Array | int, logits_BV: Array, ended_B: Array) -> tuple[Array, Array]:
        """Return the tokens, and which examples have ended."""
        drawn = None if typed is None else jax.random.fold_in(typed, index)
        chosen_B = strategy.choose(logits_BV, drawn)
        unknown_B = jnp.isnan(jnp.max(logits_BV, axis=-1))
        tokens_B, ended_B = jnp.where(ended_B | unknown_B, padding, chosen_B), ended_B | unknown_B
        return tokens_B, ended_B if end is None else ended_B | (chosen_B == end)

    def unfinished(state: State) -> Array:
        index, _, _, ended_B, _ = state
        return (index < steps) & ~jnp.all(ended_B)

    def advance(state: State) -> State:
        index, last_B, tokens_BT, ended_B, cache = state
        logits_BV, cache, _ = model.step(params, last_B, cache)
        chosen_B, ended_B = choose(index, logits_BV, ended_B)
        tokens_BT = jax.lax.dynamic_update_slice_in_dim(tokens_BT, chosen_B[:, None], index, axis=1)
        return index + 1, chosen_B, tokens_BT, ended_B, cache

    chosen_B, ended_B = choose(0, logits_BV, jnp.zeros(B, bool))
    tokens_BT = jnp.full((B, steps), padding, jnp.int32).at[:, 0].set(chosen_B)
    state = (jnp.ones((), jnp.int32), chosen_B, tokens_BT, ended_B, cache)
    return jax.lax.while_loop(unfinished, advance, state)[2]


def _token(end: Any, size: int) -> Array:
    """Return the token that ends an example, checked; of a traced one, its kind alone."""
    token = whole_numbers("end", end)
    if known(token) and not np.all((token >= 0) & (token < size)):
        expected = f"0 to {size - 1} (model.vocab_size {size}), or None where no token ends an example"
        raise problem(
            "an end outside of the vocabulary", got=end, expected=expected, do="Pass end=None, or such a token."
        )
    return jnp.asarray(token)
