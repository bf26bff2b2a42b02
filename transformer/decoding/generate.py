"""One loop for all models: choose a token, read it, until every example has ended.

    logits, cache, _ = model.start(params, prompt);       token = strategy.choose(logits)
    repeat: logits, cache, _ = model.step(params, token, cache);  token = strategy.choose(logits)

The loop is a `while` in one compiled program; nothing is computed after the last example's end token. Strategies that
choose no token by itself have a search of their own (`beam`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import describe
from transformer.decoding import beam, captured, layout
from transformer.decoding.captured import Captured
from transformer.decoding.generated import Generated
from transformer.decoding.rules import Allowed, Rule, Rules, State, Stop
from transformer.decoding.strategies import Beam, Greedy, is_strategy, no_key
from transformer.errors import problem
from transformer.models import compiled
from transformer.models.base import Replace
from transformer.models.batch import ENTRIES, known
from transformer.models.build import Batch, Cache, Model, Params
from transformer.models.entries import whole_numbers
from transformer.ops.keys import as_keys


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


def generate(
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
    capture: Sequence[str] = (),
    replace: Replace | None = None,
) -> Generated:
    """Continue each example of a batch; pure, to be jitted with `steps` static.

    Args:
        batch: as for `model.start`.
        steps: most tokens generated.
        end: the token that ends an example, or several; it is part of the result. None: no token does.
        strategy: Greedy(), Sampling(...), Beam(...), or an object with `choose` and `random` of your own.
        rules: what may be written, such as RepetitionPenalty, NoRepeatNgram, MinLength, Allowed.
        padding: what stands after the end.
        key: for a strategy that draws: a key for each example, B, or one key or seed, of which example b has
            `fold_in(key, b)`. Token i of an example is a function of the example's key, i and its logits, in whatever
            batch it stands (of threefry keys, which are JAX's default).
        capture: names of activations, as for `apply`. Of a decoder, the activations that each token was chosen from:
            entry i of axis T = steps is of the last token of the prompt (i = 0) or of token i - 1, and 0 behind an
            answer; an array without T, such as keys, is that of the answer's last step. Of an encoder, as `start` has
            it.
        replace: as for `apply`, in the prompt's pass and in each step.

    Raises:
        UserError: no model, an end outside of the vocabulary, no strategy, one that draws without a key, another number
            of keys than examples, no rule, more beams than tokens, capture with a beam, a constraint that nothing
            obeys, or what `model.start` raises.

    Returns:
        The tokens of each example, their number and log-probability; `padding` after the end token, and from where on
        the logits are NaN (see `model.start`).

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> generate(model, model.init(jax.random.key(0)), prompt, steps=4, end=2).tokens.shape
    (2, 4)
    """
    plan, begun = begin(model, params, batch, Asked(steps, end, strategy, rules, padding, key, capture, replace))
    if compiled.is_part_of_a_program(begun):
        return _written(plan, begun)
    if is_kept(plan):
        return _program(plan, begun)
    return jax.jit(functools.partial(_written, plan))(begun)


class Asked(NamedTuple):
    """The arguments of `generate` behind the batch, unchecked."""

    steps: Any
    end: Any
    strategy: Any
    rules: Any
    padding: Any
    key: Any
    capture: Any = ()
    replace: Any = None


def begin(model: Any, params: Params, batch: Any, asked: Asked) -> tuple["Plan", "Begun"]:
    """Check the arguments of `generate`, and read the prompts."""
    steps, end, strategy, rules, padding, key, capture, replace = asked
    if not hasattr(model, "start") or not hasattr(model, "step"):
        do = "Write generate(model, params, batch, ...)."
        raise problem("not a model", got=describe(model), expected="the result of transformer.build", do=do)
    if not is_strategy(strategy):
        expected = "Greedy(), Sampling(...), Beam(...), or an object with choose and random"
        raise problem("not a strategy", got=repr(strategy), expected=expected, do="Pass Greedy() or Sampling(...).")
    if strategy.random and key is None:
        raise no_key()
    _check_rules(rules)
    vocabulary = model.config.vocab_size or 0
    ends = () if end is None else tuple(end) if isinstance(end, list | tuple) else (end,)
    stop = Stop(tuple(_token(one, vocabulary) for one in ends), jnp.asarray(whole_numbers("padding", padding)))
    if capture and isinstance(strategy, Beam):
        do = "Read the answers with apply(..., capture=...)."
        raise problem("a beam captures nothing", got=f"capture={capture}", expected="another strategy", do=do)
    logits_BV, cache, of_start = model.start(params, batch, steps=steps, capture=capture, replace=replace)
    replace = {} if replace is None else replace
    functions = tuple((name, own if callable(own) else None) for name, own in replace.items())
    plan = Plan(model, strategy, Rules(tuple(rules), int(steps)), tuple(capture), functions)
    read = {name: jnp.asarray(x) for name, x in cast(Batch, batch).items() if name in ENTRIES}
    keys = None if key is None else as_keys(key, len(logits_BV))
    arrays = {name: jnp.asarray(own) for name, own in replace.items() if not callable(own)}
    return plan, Begun(params, read, logits_BV, cache, stop, keys, of_start, arrays)


def _check_rules(rules: Any) -> None:
    """Raise a UserError unless these are rules."""
    if not isinstance(rules, list | tuple):
        own = "matching(pattern, texts, end)" if isinstance(rules, str) else f"{type(rules).__name__}(...)"
        do = f"Write rules=({own},)."
        raise problem("rules takes a tuple of rules", got=repr(rules), expected="a tuple", do=do)
    for rule in rules:
        if not isinstance(rule, Rule):
            expected, do = "an object with start, apply and read", "Pass rules=(NoRepeatNgram(3),), or such an object."
            raise problem("not a rule", got=repr(rule), expected=expected, do=do)


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


def _written(plan: Plan, begun: Begun) -> Generated:
    """Write the answers, the prompt being read."""
    if isinstance(plan.strategy, Beam):
        return beam.search(plan.model, plan.strategy, plan.rules, begun, _replaced(plan, begun))
    return _loop(plan, begun)


def _replaced(plan: Plan, begun: Begun) -> Replace:
    """Return what replaces activations, the functions and the arrays."""
    return {name: begun.arrays.get(name, function) for name, function in plan.replace}


_program = jax.jit(_written, static_argnums=0)


def is_kept(plan: Plan) -> bool:
    """Return whether the program is kept between calls: no function may read what changes, and all can be hashed."""
    try:
        hash(plan)
    except TypeError:  # a temperature is an array
        return False
    has_functions = any(function is not None for _, function in plan.replace)
    return not has_functions and not any(isinstance(rule, Allowed) for rule in plan.rules.rules)


def _loop(plan: Plan, begun: Begun) -> Generated:
    """Choose the tokens of each example one after the other."""
    laid_out = layout.lay_out(plan.model, begun.params)
    first, unfinished, advance = loop_of(plan, begun._replace(params=laid_out))
    found = jax.lax.while_loop(unfinished, advance, first).found
    return found._replace(captured={**begun.captured, **found.captured})


def loop_of(plan: Plan, begun: Begun) -> tuple[Loop, Callable[[Loop], Array], Callable[[Loop], Loop]]:
    """Build the loop: its state after the first token, whether an example has not ended, and the next token.

    Args:
        begun: its parameters are laid out for many steps, or as they are.
    """
    model, strategy, rules, capture, _ = plan
    params, batch, logits_BV, cache, stop, key, of_start, _ = begun
    replace = _replaced(plan, begun)
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
    own_B = jnp.take_along_axis(logits_BV, token_B[:, None], axis=1, mode="clip")[:, 0]
    return own_B - jax.nn.logsumexp(logits_BV, axis=-1)


def _token(end: Any, size: int) -> Array:
    """Return the token that ends an example, checked; of a traced one, its kind alone."""
    token = whole_numbers("end", end)
    if known(token) and not np.all((token >= 0) & (token < size)):
        expected = f"0 to {size - 1} (model.vocab_size {size}), or None where no token ends an example"
        raise problem(
            "an end outside of the vocabulary", got=end, expected=expected, do="Pass end=None, or such a token."
        )
    return jnp.asarray(token)
