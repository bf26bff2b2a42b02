"""The tokens of `generate` one by one, as they are chosen.

The loop's parts are those of `generate`, each step a program of its own that is compiled once; the state, with the
cache, stays on the device, and a step writes into the place of the one before it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from transformer.decoding import layout
from transformer.decoding.generate import Asked, begin, is_kept
from transformer.decoding.loop import Begun, Loop, Plan, loop_of
from transformer.decoding.rules import Rule
from transformer.decoding.strategies import Beam, Greedy
from transformer.errors import problem
from transformer.models.build import Batch, Model, Params


def stream(
    model: Model,
    params: Params,
    batch: Batch | ArrayLike,
    *,
    steps: int,
    end: int | Array | Sequence[int] | None,
    strategy: Any = Greedy(),
    rules: Sequence[Rule] = (),
    padding: int | Array = 0,
    key: ArrayLike | None = None,
) -> Iterator[np.ndarray]:
    """Yield the next token of each example, B, until every example has ended or has `steps` tokens.

    The tokens are those of `generate` with the same arguments: `padding` after an example's end. Not to be jitted.

    Raises:
        UserError: a beam, which has no token before the last; or what `generate` raises.

    >>> import transformer
    >>> from jax import numpy as jnp
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> [token_B.shape for token_B in stream(model, model.init(0), prompt, steps=2, end=None)]
    [(2,), (2,)]
    """
    if isinstance(strategy, Beam):
        do = "Call generate, or take another strategy."
        raise problem("a beam has no token before the last, so that none can be streamed", got=strategy, do=do)
    return _tokens(*begin(model, params, batch, Asked(steps, end, strategy, rules, padding, key)))


def _tokens(plan: Plan, begun: Begun) -> Iterator[np.ndarray]:
    """Yield the tokens, the prompts being read."""
    begun = begun._replace(params=_laid_out(plan.model, begun.params))
    first: Callable[..., Any]
    following: Callable[..., Any]
    if is_kept(plan):
        first, following = functools.partial(_kept_first, plan), functools.partial(_kept_following, plan)
    else:
        first = jax.jit(functools.partial(_first, plan))
        following = jax.jit(functools.partial(_following, plan), donate_argnums=1)
    loop, more = first(begun)
    yield np.asarray(loop.last_B)
    while more:
        loop, more = following(begun, loop)
        yield np.asarray(loop.last_B)


def _first(plan: Plan, begun: Begun) -> tuple[Loop, Array]:
    """Choose the first tokens; return whether there are more."""
    loop, unfinished, _ = loop_of(plan, begun)
    return loop, unfinished(loop)


def _following(plan: Plan, begun: Begun, loop: Loop) -> tuple[Loop, Array]:
    """Read the last tokens and choose the next; return whether there are more."""
    _, unfinished, advance = loop_of(plan, begun)
    loop = advance(loop)
    return loop, unfinished(loop)


_laid_out = jax.jit(layout.lay_out, static_argnums=0)
_kept_first = jax.jit(_first, static_argnums=0)
_kept_following = jax.jit(_following, static_argnums=0, donate_argnums=2)
