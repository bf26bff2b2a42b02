"""Cache: prediction token by token with the keys and values of earlier tokens kept, against a pass over all of them.

    with a cache      k_t, v_t from token t alone; q_t attends to the cached k_1 .. k_t, v_1 .. v_t
    a full pass       q, k, v of all n tokens

They are equal where no earlier row depends on a later token, as under a causal mask. The control is a stale cache: the
keys and values of the last token are not written. Parameters and tokens are random. Lengths are read in two ranges, up
to 2 D, where the linear maps cost more, and from 24 D on, where attention does (see the study `cost`).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int
from matplotlib.figure import Figure

import transformer
from experiments.costs.flops import operations
from experiments.costs.memory import bytes_of
from experiments.studies.frame.claim import MOST, TOLERANCE, DrawnSettings, Numbers, Study
from experiments.studies.frame.pictures import curve, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts.cache_claims import judge
from experiments.studies.parts.laws import rising
from experiments.studies.parts.one_function import randomised
from experiments.studies.parts.timing import seconds_in_rounds
from transformer import Model
from transformer.decoding.layout import lay_out, unstacked
from transformer.nn.positions import POSITIONS
from transformer.schema import at_least, setting

VOCABULARY = 64
WINDOW = 5
STEPS = 16
"""Tokens of one timed call with a cache."""

CASES: dict[str, dict[str, Any]] = {
    **{f"position {name}": {"position": name} for name in POSITIONS if POSITIONS[name].settings is None},
    "grouped queries, 2 of 4 heads": {"position": "rotary", "num_kv_heads": 2},
    f"window of {WINDOW} tokens": {"position": "rotary", "window": WINDOW},
    f"window of {WINDOW} in one layer": {"position": "rotary", "window": (None, WINDOW)},
    "linear attention": {"position": "none", "mixer": "linear"},
}
"""Model settings by case: two layers, four heads."""
CACHES: dict[str, dict[str, Any]] = {
    "all heads": {},
    "one key/value head of 4": {"num_kv_heads": 1},
    "window": {"window": 64},
    "linear attention": {"mixer": "linear", "position": "none"},
}
"""Model settings of the caches whose bytes are counted."""
WITH, WITHOUT = "with a cache", "without"


@dataclasses.dataclass(frozen=True)
class CacheSettings(DrawnSettings):
    """Prediction with a cache of keys and values: python -m experiments.studies cache"""

    length: int = setting(24, "tokens of the passes that are compared (T)", check=at_least(WINDOW + 3, MOST))
    prompt: int = setting(3, "tokens of the prompt, read at once", check=at_least(1, MOST))
    width: int = setting(64, "model width D, a multiple of 8", check=at_least(8, MOST))
    lengths: tuple[int, ...] = setting(
        (16, 32, 64, 128, 384, 1536, 3072, 6144), "tokens n before the one that is timed", check=rising(1)
    )
    rounds: int = setting(8, "rounds of timing; 0: no times", check=at_least(0, MOST))


def measure(settings: CacheSettings) -> Numbers:
    """Compute the differences of each case, and time, operations and bytes against the length."""
    found = {}
    for name, case in CASES.items():
        model = _model(settings, num_heads=4, max_length=settings.length, **case)
        read = jax.jit(jax.vmap(functools.partial(differences, model, settings.prompt)))
        found[name] = {reading: np.asarray(x, float) for reading, x in read(*drawn(model, settings)).items()}
    return {
        "differences": found,
        "rows": {name: earlier_rows(settings, name) for name in ROWS},
        "width": settings.width,
        "lengths": settings.lengths,
        **costs(settings),
    }


def _model(settings: CacheSettings, **own: Any) -> Model:
    shape = dict(architecture="decoder_only", vocab_size=VOCABULARY, width=settings.width, num_layers=2)
    return transformer.build({**shape, **own})


def drawn(model: Model, settings: CacheSettings) -> tuple[Any, Int[Array, "R B T"]]:
    """Draw parameters, with a leading R, and tokens for each seed.

    A random number is added to each parameter, since some, such as the table of relative positions, start at zero.
    """
    keys = [jax.random.key(seed) for seed in settings.seeds]
    params_R = jax.tree.map(lambda *x: jnp.stack(x), *[randomised(key, model.init(key)) for key in keys])
    shape = (2, settings.length)
    tokens = [jax.random.randint(jax.random.fold_in(key, 1), shape, 0, VOCABULARY, jnp.int32) for key in keys]
    return params_R, jnp.stack(tokens)


def differences(model: Model, prompt: int, params: Any, tokens_BT: Int[Array, "B T"]) -> Mapping[str, Array]:
    """Compute the largest relative difference of logits of one draw, and the smallest with a stale cache.

    A difference is the largest of a step, in units of the largest logit of the full pass.
    """
    T = tokens_BT.shape[1]
    full_BTV = model.apply(params, {"target": tokens_BT})["logits"]
    lengths_B = jnp.full(2, prompt, jnp.int32)
    batch = {"target": tokens_BT[:, :prompt], "target_lengths": lengths_B}
    first_BV, cache, _ = model.start(params, batch, steps=T - prompt)

    def step(carried: tuple[Any, Any], token_B: Array) -> tuple[Any, tuple[Array, Array]]:
        cache, before = carried
        logits_BV, new, _ = model.step(params, token_B, cache)
        stale_BV, _, _ = model.step(params, token_B, {**cache, "blocks": before})
        return (new, cache["blocks"]), (logits_BV, stale_BV)

    _, (logits_TBV, stale_TBV) = jax.lax.scan(step, (cache, cache["blocks"]), tokens_BT[:, prompt:].T)
    expected_TBV, largest = jnp.swapaxes(full_BTV[:, prompt:], 0, 1), jnp.abs(full_BTV).max()
    first = jnp.abs(first_BV - full_BTV[:, prompt - 1]).max()
    stale_T = jnp.abs(stale_TBV - expected_TBV).max((1, 2))[1:]  # nothing is left out before the first step
    return {
        "error": jnp.maximum(first, jnp.abs(logits_TBV - expected_TBV).max()) / largest,
        "stale": stale_T.min() / largest,
    }


ROWS: dict[str, dict[str, Any]] = {
    "causal": {"architecture": "decoder_only"},
    "no mask": {"architecture": "encoder_only"},
}
"""Model settings by the mask of self-attention."""


def earlier_rows(settings: CacheSettings, name: str) -> np.ndarray:
    """Compute how much the keys of earlier tokens differ, in the second layer, once a token is added (relative), R."""
    model = _model(settings, num_heads=4, **ROWS[name])
    site = f"{'decoder' if name == 'causal' else 'encoder'}.1.self.key"

    def one(params: Any, tokens_BT: Int[Array, "B T"]) -> Array:
        def keys_of(tokens_BT: Int[Array, "B T"]) -> Array:
            batch = {"source": tokens_BT, "target": tokens_BT}
            return model.apply(params, batch, capture=[site])["captured"][site]

        whole, before = keys_of(tokens_BT), keys_of(tokens_BT[:, :-1])
        return jnp.abs(before - whole[..., : before.shape[-3], :, :]).max() / jnp.abs(whole).max()

    return np.asarray(jax.jit(jax.vmap(one))(*drawn(model, settings)), float)


def costs(settings: CacheSettings) -> dict[str, Any]:
    """Compute seconds_nR and operations_n of one token, with and without a cache, and bytes_n of each cache."""
    model = _model(settings, num_heads=1, position="rotary")
    params, programs = model.init(0), {}
    for n in settings.lengths:
        for name, make in MAKERS.items():
            function, arguments, tokens = make(model, params, n)
            programs[name, n] = jax.jit(function), arguments, tokens
    counted = {
        key: operations(program, *arguments).total.products / tokens
        for key, (program, arguments, tokens) in programs.items()
    }
    found: dict[str, Any] = {
        "operations_n": {name: np.array([counted[name, n] for n in settings.lengths]) for name in MAKERS},
        "bytes_n": {name: cache_bytes(settings, name) for name in CACHES},
    }
    if settings.rounds:
        calls = {key: functools.partial(program, *arguments) for key, (program, arguments, _) in programs.items()}
        times = seconds_in_rounds(calls, settings.rounds)
        found["seconds_nR"] = {
            name: np.stack([times[name, n] / programs[name, n][2] for n in settings.lengths]) for name in MAKERS
        }
    return found


Program = tuple[Callable[..., Any], tuple[Any, ...], int]
"""A function, its arguments, and the number of tokens of a call."""


def with_cache(model: Model, params: Any, n: int) -> Program:
    """Return a program that reads STEPS tokens after n, the caches as those of generation."""
    batch = {"target": jnp.zeros((1, n), jnp.int32), "target_lengths": jnp.array([n])}
    _, cache, _ = jax.jit(lambda params: model.start(params, batch, steps=STEPS))(params)

    def tokens(params: Any, cache: Any) -> Array:
        def one(cache: Any, _: None) -> tuple[Any, Array]:
            logits_BV, new_cache = model.step(params, jnp.zeros(1, jnp.int32), cache)[:2]
            return new_cache, logits_BV

        return jax.lax.scan(one, cache, None, length=STEPS)[1]

    return tokens, (lay_out(model, params), unstacked(model, cache)), STEPS


def without_cache(model: Model, params: Any, n: int) -> Program:
    """Return a program that computes the logits after n tokens by a pass over all of them."""
    batch = {"target": jnp.zeros((1, n), jnp.int32), "target_lengths": jnp.array([n])}
    return (lambda params: model.start(params, batch, steps=1)[0]), (params,), 1


MAKERS: dict[str, Callable[[Model, Any, int], Program]] = {WITH: with_cache, WITHOUT: without_cache}


def cache_bytes(settings: CacheSettings, name: str) -> np.ndarray:
    """Count the bytes of a cache of n tokens, for each length."""
    model = _model(settings, **{"num_heads": 4, "position": "rotary", **CACHES[name]})

    def blocks(n: int) -> Any:
        batch = {"target": jnp.zeros((1, 1), jnp.int32), "target_lengths": jnp.array([1])}
        return jax.eval_shape(lambda params: model.start(params, batch, steps=n - 1)[1]["blocks"], params)

    params = model.parameter_shapes
    return np.array([bytes_of(blocks(n)) for n in settings.lengths])


def draw(numbers: Numbers) -> Figure:
    """Draw the differences of each case, and operations, time and bytes against the length."""
    timed = "seconds_nR" in numbers
    figure, grid = panels(4 if timed else 3, width=3.5, height=3.2)
    first, *others = grid[0]
    rows = numbers["differences"]
    for i, reading in enumerate(("error", "stale")):
        points(first, list(rows), np.array([row[reading] for row in rows.values()]), low=1e-8, number=i)
    first.axvline(TOLERANCE, color="black", linestyle=":", linewidth=1.2)
    first.set_xlim(4e-9, 5.0)
    first.tick_params(labelsize=7)
    finish(first, "blue: with a cache; orange: stale cache", "difference of logits / largest logit", "")
    shown = [("operations_n", "of matrix products, per token", "operations")]
    shown += [("seconds_nR", "per token on this machine; shades: rounds", "time (seconds)")] * timed
    for axes, (name, title, label) in zip(
        others, [*shown, ("bytes_n", "of the cache, two layers", "bytes")], strict=True
    ):
        for i, (row, values) in enumerate(numbers[name].items()):
            curve(axes, numbers["lengths"], np.asarray(values, float), row, i)
        axes.set_xscale("log")
        axes.set_yscale("log")
        finish(axes, title, "tokens n", label, legend=True)
    return figure


CACHE = Study(
    title=Text("Prediction token by token with a cache of keys and values", "使用键值缓存逐词元预测"),
    settings=CacheSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="about 4 min",
    preview={"lengths": (16, 32, 64, 128, 1536, 2048), "rounds": 4},
)
