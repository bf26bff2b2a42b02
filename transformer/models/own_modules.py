"""The check of modules from outside, feed-forwards and architectures: one call of each on the shapes of an example.

Nothing is computed. Each parameter must have axes, by which it is started, decayed and sharded, and their shape.
"""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import check_shape, describe
from transformer.errors import problem
from transformer.nn.intermediates import Request
from transformer.nn.module_rows import ARCHITECTURES, FEED_FORWARDS, structure
from transformer.nn.module_rows import ROWS as ARCHITECTURE_ROWS
from transformer.nn.parameter_axes import shape_of, sizes
from transformer.nn.parameters import brought, find_axes
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.small_example import trace

EXAMPLES, LENGTH, STEPS = 2, 3, 2
"""Sizes B and T of the small example, and the number of steps that are decoded."""


def check_modules(config: ModelSettings) -> None:
    """Check the modules from outside that a resolved config names.

    Raises:
        UserError: a module that takes other arguments, fails, returns something else, or has a parameter without axes.
    """
    if config.feed_forward_width != 0 and FEED_FORWARDS.of(config, "feed_forward") != FEED_FORWARDS["mlp"]:
        _check_feed_forward(config, f"model.feed_forward {str(config.feed_forward)!r}")
    if ARCHITECTURES.of(config, "architecture") not in ARCHITECTURE_ROWS.values():
        _check_architecture(config, f"model.architecture {str(config.architecture)!r}")


def check_axes(what: str, params: Any, config: ModelSettings) -> None:
    """Check that each parameter of a module from outside has axes, and their shape.

    Raises:
        UserError: a parameter without axes, with an axis without a size, or of another shape.
    """
    size = sizes(config)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *outer, owner, name = ["", *(entry.key for entry in path)]
        if not owner:
            what, do = f"a parameter of {what} has no owner", "Make it in a module within, whose name is the owner."
            raise problem(what, got=repr(name), do=do)
        full, layers = f"parameter {owner}.{name} of {what}", "blocks" in outer
        axes = find_axes(owner, name, brought(owner, config))
        expected, shape = shape_of(axes, size, f"{owner}.{name} of {what}"), leaf.shape[layers:]
        if shape != expected:
            raise problem(f"{full} has another shape", got=shape, expected=f"{' '.join(axes.letters)} {expected}")


def _traced(what: str, call: Callable[..., Any], examples: tuple[Any, ...], expected: str) -> Any:
    return trace(what, call, examples, f"{expected} that jax.jit can trace")


def _check_feed_forward(config: ModelSettings, what: str) -> None:
    row, known = FEED_FORWARDS.of(config, "feed_forward"), {"B": EXAMPLES, "T": LENGTH, "D": config.width}

    def applied(x_BTD: Array) -> Any:
        module = row.make(config, name="feed_forward")
        y_BTD, variables = module.init_with_output(jax.random.key(0), x_BTD, Recorder(Request(), "decoder"))
        check_shape(f"what {what} returns", y_BTD, "B T D", known, jnp.floating)
        return variables

    x_BTD = jax.ShapeDtypeStruct(tuple(known.values()), config.compute_dtype)
    variables = _traced(what, applied, (x_BTD,), "a Linen module (config) that is called with (x_BTD, recorder)")
    check_axes(what, {"feed_forward": variables.get("params", {})}, config)


def _check_architecture(config: ModelSettings, what: str) -> None:
    module = _traced_module(config, what)
    last = structure(config.architecture).sides[-1]
    batch = _batch(structure(config.architecture).sides)

    def init(batch: Any) -> Any:
        return module.init(jax.random.key(0), batch)

    takes = "a Linen module (config, request) with __call__(batch, dropout), start(batch, steps), step(tokens_B, cache)"
    variables = _traced(what, init, (batch,), takes)
    check_axes(what, variables.get("params", {}), config)
    out = _traced(what, module.apply, (variables, batch), takes)
    classes = config.class_head.classes
    name, axes = ("logits", "B T V") if classes is None else ("class_logits", "B C")
    known = {"B": EXAMPLES, "T": LENGTH, "D": config.width, "V": config.vocab_size, "C": classes or 0}
    for part, letters in ((name, axes), ("hidden", "B T D")):
        _check_part(what, out, part, letters, known)
    if not isinstance(out.get("captured"), dict):
        got = describe(out.get("captured"))
        raise problem(f"what {what} returns has no captured activations", got=got, expected='"captured": a dict')
    if classes is None:
        _check_decoding(what, module, variables, batch, known, reads_tokens=last == "target")


def _traced_module(config: ModelSettings, what: str) -> nn.Module:
    """Return the module of the architecture. Raises a UserError where it cannot be made."""
    made: list[nn.Module] = []
    row = ARCHITECTURES.of(config, "architecture")
    _traced(what, lambda: made.append(row.make(config)), (), "a Linen module (config, request)")
    return made[0]


def _batch(sides: tuple[str, ...]) -> dict[str, Any]:
    tokens, lengths = jax.ShapeDtypeStruct((EXAMPLES, LENGTH), jnp.int32), jax.ShapeDtypeStruct((EXAMPLES,), jnp.int32)
    return {name: own for side in sides for name, own in ((side, tokens), (f"{side}_lengths", lengths))}


def _check_part(what: str, out: Any, part: str, axes: str, known: dict[str, int]) -> None:
    if not isinstance(out, dict) or part not in out:
        got = f"a dict of {', '.join(out)}" if isinstance(out, dict) else describe(out)
        raise problem(f"what {what} returns has no {part}", got=got, expected=f"{part!r}: {axes}")
    check_shape(f"the {part} that {what} returns", out[part], axes, dict(known), jnp.floating)


def _check_decoding(
    what: str, module: nn.Module, variables: Any, batch: dict[str, Any], known: dict[str, int], *, reads_tokens: bool
) -> None:
    """Decode two tokens; a step must return a cache of the shapes of the one that it is given."""
    prompt = batch if reads_tokens else {**batch, "prefix_lengths": jax.ShapeDtypeStruct((EXAMPLES,), jnp.int32)}

    def start(variables: Any, batch: Any) -> Any:
        return module.apply(variables, batch, STEPS, method="start")

    def step(variables: Any, tokens_B: Any, cache: Any) -> Any:
        return module.apply(variables, tokens_B, cache, method="step")

    expected = "(logits_BV, cache, captured)"
    first = _traced(f"start of {what}", start, (variables, prompt), f"a method (batch, steps) -> {expected}")
    cache = _parts_of(what, "start", first, known)
    tokens_B = jax.ShapeDtypeStruct((EXAMPLES,), jnp.int32)
    second = _traced(f"step of {what}", step, (variables, tokens_B, cache), f"a method (tokens_B, cache) -> {expected}")
    new = _parts_of(what, "step", second, known)
    old_shapes, new_shapes = (jax.tree.map(lambda x: (x.shape, x.dtype), own) for own in (cache, new))
    if old_shapes != new_shapes:
        do = "Make all of it in start, at its full size."
        raise problem(f"step of {what} changes the shapes of the cache", got=new_shapes, expected=old_shapes, do=do)


def _parts_of(what: str, method: str, given: Any, known: dict[str, int]) -> dict[str, Any]:
    """Return the cache of what a method for decoding returned."""
    if not isinstance(given, tuple) or len(given) != 3:
        expected = "(logits_BV, cache, captured)"
        raise problem(f"{method} of {what} returns something else", got=describe(given), expected=expected)
    check_shape(f"the logits that {method} of {what} returns", given[0], "B V", dict(known), jnp.floating)
    if not isinstance(given[1], dict) or "remaining" not in given[1]:
        got, expected = describe(given[1]), '"remaining": the steps that each example has left, B'
        raise problem(f"the cache that {method} of {what} returns lacks an entry", got=got, expected=expected)
    return cast(dict[str, Any], given[1])
