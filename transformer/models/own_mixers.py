"""The check of a mixer from outside: calls on the shapes of a small example, with its cache and without.

Nothing is computed.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import check_shape, describe
from transformer.errors import problem
from transformer.models.own_modules import EXAMPLES, LENGTH, STEPS, check_axes
from transformer.nn.attention import AttentionInputs
from transformer.nn.intermediates import Request
from transformer.nn.mixers import MIXERS, ROWS, Mixer
from transformer.nn.module_rows import structure
from transformer.nn.parameter_axes import sizes
from transformer.nn.recorder import Recorder
from transformer.nn.settings import ModelSettings
from transformer.ops import masks
from transformer.ops.positions import QueryKeyPositions
from transformer.small_example import trace

TAKES = "a Linen module (config) that is called with (x_BTD, inputs), that jax.jit can trace"


class Listing(Recorder):
    """A recorder that lists all that it is given."""

    def __init__(self, stack: str) -> None:
        super().__init__(Request(), stack)
        self.recorded: dict[str, Array] = {}

    @property
    def needs_weights(self) -> bool:
        """True, so that they are recorded where there are any."""
        return True

    def record(self, site: str, x: Array) -> Array:
        """List an activation."""
        self.recorded[site] = x
        return x


def check_mixer(config: ModelSettings) -> None:
    """Check the mixer from outside that a resolved config names, if it does, in each stack of the model.

    Raises:
        UserError: it takes other arguments, fails, returns something else, forgets its cache, records other activations
            than its row declares, or has a parameter without axes.
    """
    own, row = structure(config.architecture), MIXERS.of(config, "mixer")
    if own.recurrent or not config.self_attention or row in ROWS.values():
        return
    what = f"model.mixer {str(config.mixer)!r}"
    x_BTD = jax.ShapeDtypeStruct((EXAMPLES, LENGTH, config.width), config.compute_dtype)
    for stack in own.stacks:

        def whole(x_BTD: Array, stack: str = stack) -> Any:
            recorder = Listing(stack)
            module, inputs = row.make(config, name="self"), _inputs(x_BTD, recorder, None, 0)
            out, variables = module.init_with_output(jax.random.key(0), x_BTD, inputs)
            _output_and_cache(what, out, x_BTD)
            _check_recorded(what, row, recorder.recorded, {**sizes(config), "B": EXAMPLES, "T": LENGTH, "S": LENGTH})
            return variables

        variables = trace(what, whole, (x_BTD,), TAKES)
        check_axes(what, {"self": variables.get("params", {})}, config)
        if stack == "decoder" and row.empty_cache is not None:
            _check_cache(config, what, row, variables)


def _inputs(x_BTD: Array, recorder: Listing, cache: Any, index: int) -> AttentionInputs:
    """Return the inputs of tokens that begin at an index of their row."""
    B, T = x_BTD.shape[:2]
    causal = recorder.stack == "decoder"
    at_T = jnp.arange(index, index + T, dtype=jnp.int32)
    order = masks.causal() if causal else masks.everything()
    return AttentionInputs(
        mask=order & masks.padding(jnp.full(B, index + T, jnp.int32)),
        recorder=recorder,
        positions=QueryKeyPositions(at_T, at_T if cache is None else jnp.arange(LENGTH + STEPS, dtype=jnp.int32)),
        cache=cache,
        cache_index_B=None if cache is None else jnp.full(B, index, jnp.int32),
        causal=causal,
    )


def _output_and_cache(what: str, out: Any, x_BTD: Array) -> tuple[Array, Any]:
    """Return what a mixer returns. Raises a UserError where it is no output and cache."""
    expected = "(y_BTD, cache)"
    if not isinstance(out, tuple) or len(out) != 2:
        raise problem(
            f"{what} returns something else than its output and its cache", got=describe(out), expected=expected
        )
    known = dict(zip("BTD", x_BTD.shape, strict=True))
    check_shape(f"the output that {what} returns", out[0], "B T D", known, jnp.floating)
    return out


def _check_recorded(what: str, row: Mixer, recorded: Mapping[str, Array], known: dict[str, int]) -> None:
    """Compare the activations that a mixer records with those that its row declares."""
    if set(recorded) != set(row.sites):
        got, expected = (", ".join(sorted(names)) or "none" for names in (recorded, row.sites))
        do = 'Give its row sites={"NAME": "B T D"} with their axes.'
        raise problem(f"{what} records other activations than its row declares", got=got, expected=expected, do=do)
    for site, axes in row.sites.items():
        check_shape(f"the activation {site!r} of {what}", recorded[site], axes, dict(known))


def _check_cache(config: ModelSettings, what: str, row: Mixer, variables: Any) -> None:
    """Read a prompt and one token more; the cache must keep its shapes."""

    def read(variables: Any, x_BTD: Array, cache: Any, index: int) -> Any:
        inputs = _inputs(x_BTD, Listing("decoder"), cache, index)
        return _output_and_cache(what, row.make(config, name="self").apply(variables, x_BTD, inputs), x_BTD)[1]

    def decode(variables: Any, prompt_BTD: Array, token_B1D: Array) -> None:
        cache = row.cache(config, EXAMPLES, LENGTH + STEPS)
        for name, x in cache.items():
            if jnp.shape(x)[:1] != (EXAMPLES,):
                raise problem(f"{name!r} of the cache of {what} has no leading B", got=describe(x), expected=EXAMPLES)
        expected = _shapes(cache)
        for x_BTD, index in ((prompt_BTD, 0), (token_B1D, LENGTH)):
            cache = read(variables, x_BTD, cache, index)
            if cache is None or _shapes(cache) != expected:
                got = "none" if cache is None else _shapes(cache)
                do = "Return it after the tokens that were read, of the shapes of empty_cache."
                raise problem(f"{what} returns another cache than it is given", got=got, expected=expected, do=do)

    examples = [jax.ShapeDtypeStruct((EXAMPLES, T, config.width), config.compute_dtype) for T in (LENGTH, 1)]
    trace(what, decode, (variables, *examples), f"empty_cache(config, batch, length), and {TAKES}")


def _shapes(cache: Any) -> Any:
    return jax.tree.map(lambda x: f"{jnp.asarray(x).dtype} {jnp.shape(x)}", cache)
