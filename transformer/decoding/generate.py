"""One loop for all models: choose a token, read it, until every example has ended.

    logits, cache, _ = model.start(params, prompt);       token = strategy.choose(logits)
    repeat: logits, cache, _ = model.step(params, token, cache);  token = strategy.choose(logits)

The loop is a `while` in one compiled program; nothing is computed after the last example's end token. Strategies that
choose no token by itself have a search of their own (`beam`).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from transformer.axes import describe
from transformer.decoding import beam, layout
from transformer.decoding.generated import Generated
from transformer.decoding.loop import Begun, Plan, loop_of, replaced
from transformer.decoding.rules import Allowed, Rule, Rules, Stop
from transformer.decoding.strategies import Beam, Greedy, is_strategy, no_key
from transformer.errors import problem
from transformer.models import compiled
from transformer.models.base import Replace
from transformer.models.batch import ENTRIES, known
from transformer.models.build import Batch, Model, Params
from transformer.models.entries import whole_numbers
from transformer.ops.keys import as_keys


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
        rules: what may be written, such as RepetitionPenalty, NoRepeatNgram, MinLength, Banned, Forced, Allowed.
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


def begin(model: Any, params: Params, batch: Any, asked: Asked) -> tuple[Plan, Begun]:
    """Check the arguments of `generate`, and read the prompts.

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7, width=8, num_heads=2, num_layers=1))
    >>> prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    >>> begin(model, model.init(0), prompt, Asked(4, 2, Greedy(), (), 0, None))[1].logits_BV.shape
    (2, 7)
    """
    steps, end, strategy, rules, padding, key, capture, replace = asked
    if not hasattr(model, "start") or not hasattr(model, "step"):
        do = "Write generate(model, params, batch, ...)."
        raise problem("not a model", got=describe(model), expected="the result of transformer.build", do=do)
    if not is_strategy(strategy):
        expected = "Greedy(), Sampling(...), Beam(...), or an object with choose and random"
        name = strategy if isinstance(strategy, str) else getattr(strategy, "__name__", "")
        do = "Pass Beam(4), of a width of 4." if "beam" in name.lower() else "Pass Greedy() or Sampling(...)."
        raise problem("not a strategy", got=repr(strategy), expected=expected, do=do)
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


def _written(plan: Plan, begun: Begun) -> Generated:
    """Write the answers, the prompt being read."""
    if isinstance(plan.strategy, Beam):
        return beam.search(plan.model, plan.strategy, plan.rules, begun, replaced(plan, begun))
    return _loop(plan, begun)


_program = jax.jit(_written, static_argnums=0)


def is_kept(plan: Plan) -> bool:
    """Return whether the program is kept between calls: no function may read what changes, and all can be hashed.

    >>> import transformer
    >>> model = transformer.build(dict(architecture="decoder_only", vocab_size=7))
    >>> is_kept(Plan(model, Greedy(), Rules((), 4)))
    True
    """
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


def _token(end: Any, size: int) -> Array:
    """Return the token that ends an example, checked; of a traced one, its kind alone."""
    token = whole_numbers("end", end)
    if known(token) and not np.all((token >= 0) & (token < size)):
        expected = f"0 to {size - 1} (model.vocab_size {size}), or None where no token ends an example"
        raise problem(
            "an end outside of the vocabulary", got=end, expected=expected, do="Pass end=None, or such a token."
        )
    return jnp.asarray(token)
