"""The loop of strategies that choose one token after the other: what it is compiled for, what it reads, its state.

`generate` runs it in one program, `stream` a step at a time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import Array

from transformer.decoding import captured, layout
from transformer.decoding.captured import Captured
from transformer.decoding.generated import Generated
from transformer.decoding.rules import Rules, State, Stop
from transformer.models.base import Replace
from transformer.models.build import Cache, Model, Params


class Plan(NamedTuple):
    """The key of the program of a generation, beside shapes: what it is compiled for.

    `replace` has a function for each name, or None where an array replaces.
    """

    model: Model
    strategy: Any
    rules: Rules
    capture: tuple[str, ...] = ()
    replace: tuple[tuple[str, Any], ...] = ()


class Begun(NamedTuple):
    """The arrays that the program of a generation reads.

    `logits_BV`, `cache` and `captured` are those of `start`; `key` is one key, or a key for each example; `arrays`
    replace activations.
    """

    params: Params
    batch: dict[str, Array]
    logits_BV: Array
    cache: Cache
    stop: Stop
    key: Array | None
    captured: Captured
    arrays: dict[str, Array]


class Loop(NamedTuple):
    """The state of the loop.

    Attributes:
        written: number of tokens.
        last_B: the last tokens.
        found: what is written so far.
        ended_B: True where an example has ended.
        cache: of the model.
        rules: states of the rules.
    """

    written: Array | int
    last_B: Array
    found: Generated
    ended_B: Array
    cache: Cache
    rules: State


def replaced(plan: Plan, begun: Begun) -> Replace:
    """Return what replaces activations, the functions and the arrays.

    >>> import transformer
    >>> from transformer.decoding import Greedy, generate
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt, zeros = {"target": [[1]], "target_lengths": [1]}, jnp.zeros((1, 1, 8))
    >>> options = {"steps": 2, "end": None, "replace": {"decoder.0.residual": zeros}}
    >>> generate(model, model.init(0), prompt, **options).tokens.shape
    (1, 2)
    """
    return {name: begun.arrays.get(name, function) for name, function in plan.replace}


def loop_of(plan: Plan, begun: Begun) -> tuple[Loop, Callable[[Loop], Array], Callable[[Loop], Loop]]:
    """Build the loop: its state after the first token, whether an example has not ended, and the next token.

    Args:
        begun: its parameters are those of `layout.lay_out`.

    >>> import transformer
    >>> from transformer.decoding import Greedy
    >>> from transformer.decoding.generate import Asked, begin
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> plan, begun = begin(model, model.init(0), prompt, Asked(4, 2, Greedy(), (), 0, None))
    >>> laid_out = layout.lay_out(model, begun.params)
    >>> first, _, advance = loop_of(plan, begun._replace(params=laid_out))
    >>> int(advance(first).written)
    2
    """
    model, strategy, rules, capture, _ = plan
    params, batch, logits_BV, cache, stop, key, of_start, _ = begun
    replace = replaced(plan, begun)
    B, steps = logits_BV.shape[0], rules.steps
    cache = layout.unstacked(model, cache)
    key_B = key
    if key is not None and key.ndim == 0:
        key_B = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(B, dtype=jnp.int32))

    def step(token_B: Array, cache: Cache) -> tuple[Array, Cache, Captured]:
        return model.step(params, token_B, cache, capture=capture, replace=replace)

    def write(loop: Loop, logits_BV: Array, new: Captured) -> Loop:
        """Choose the next token of each example that has not ended."""
        ruled_BV = rules.apply(logits_BV.astype(jnp.float32), loop.rules, loop.written)
        chosen_B = _choose(strategy, ruled_BV, key_B, loop.written)
        ended_B = loop.ended_B | jnp.isnan(jnp.max(logits_BV, axis=-1))
        chosen_B = jnp.where(ended_B, stop.padding, chosen_B)
        tokens_BT, lengths_B, scores_B, found = loop.found
        tokens_BT = jax.lax.dynamic_update_slice_in_dim(tokens_BT, chosen_B[:, None], loop.written, axis=1)
        lengths_B = jnp.where(ended_B, lengths_B, lengths_B + 1)
        scores_B += jnp.where(loop.ended_B, 0.0, _log_probability(logits_BV, chosen_B))
        found = captured.put(found, new, axes, loop.written, ended_B)
        found = Generated(tokens_BT, lengths_B, scores_B, found)
        state = rules.read(loop.rules, chosen_B, loop.written)
        return Loop(loop.written + 1, chosen_B, found, ended_B | stop.is_end(chosen_B), loop.cache, state)

    def unfinished(loop: Loop) -> Array:
        return (loop.written < steps) & ~jnp.all(loop.ended_B)

    def advance(loop: Loop) -> Loop:
        logits_BV, cache, new = step(loop.last_B, loop.cache)
        return write(loop._replace(cache=cache), logits_BV, new)

    empty = Generated(jnp.full((B, steps), stop.padding, jnp.int32), jnp.zeros(B, jnp.int32), jnp.zeros(B, jnp.float32))
    new, axes = of_start, {}
    if capture:
        axes = captured.axes_of(model.config, jax.eval_shape(step, empty.lengths, cache)[2])
        new = captured.first(of_start, axes, batch)
        empty = empty._replace(captured=captured.empty(new, axes, steps))
    first = Loop(0, jnp.zeros(B, jnp.int32), empty, jnp.zeros(B, bool), cache, rules.start(batch, B))
    first = write(first, logits_BV, new)._replace(written=jnp.ones((), jnp.int32))
    return first, unfinished, advance


def _choose(strategy: Any, logits_BV: Array, key_B: Array | None, index: Array | int) -> Array:
    """Choose token `index` of each example; one that draws does so for each example by itself, with its own key."""
    if key_B is None:
        return cast(Array, strategy.choose(logits_BV, None))

    def choose(logits_V: Array, key: Array) -> Array:
        return cast(Array, strategy.choose(logits_V[None], jax.random.fold_in(key, index))[0])

    return jax.vmap(choose)(logits_BV, key_B)


def _log_probability(logits_BV: Array, token_B: Array) -> Array:
    """Compute the log-probability of a token of each example."""
    logits_BV = logits_BV.astype(jnp.float32)
    own_B = jnp.take_along_axis(logits_BV.T, token_B[None], axis=0, mode="clip")[0]  # as `ops.linear.Kernel` has them
    return own_B - jax.nn.logsumexp(logits_BV, axis=-1)
