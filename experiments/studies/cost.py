"""Cost of a layer against the length: of scores and weights, and of the linear maps around them.

    scores and weights    softmax(q k^T / √H) v                                     4 n² D operations of products
    linear maps           x W_q, x W_k, x W_v, c W_o, and a feed-forward of 4 D     24 n D²

So the linear maps cost more up to n = 6 D; from 12 D on if only the half of the scores that a causal mask allows is
computed, which the plain form does not do. The layer is the sum of both. Bytes are those of XLA's plan for scores and
weights, alone and with the gradient, in each form of `transformer.ops.kernels` that a processor has.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.costs.flops import operations
from experiments.costs.memory import memory_of
from experiments.studies.frame.claim import MOST, Numbers, Study, StudySettings
from experiments.studies.frame.pictures import curve, finish, panels
from experiments.studies.frame.text import Text
from experiments.studies.parts.cost_claims import LINEAR, QUADRATIC, judge
from experiments.studies.parts.laws import rising
from experiments.studies.parts.timing import seconds_in_rounds
from transformer.ops import masks
from transformer.ops.attend import attend
from transformer.ops.linear import linear
from transformer.schema import at_least, setting

FORMS = ("plain", "blocks", "chunks")
"""Values of model.kernels that take one form, whatever the size."""
WIDER = 4
"""Width of the feed-forward, in units of D."""


@dataclasses.dataclass(frozen=True)
class CostSettings(StudySettings):
    """Operations, time and bytes of attention against the length: python -m experiments.studies cost"""

    lengths: tuple[int, ...] = setting(
        (64, 128, 256, 512, 1024, 2048, 4096, 8192), "numbers of tokens n, rising", check=rising(2)
    )
    width: int = setting(64, "width D of the rows, and of the one head", check=at_least(2, MOST))
    rounds: int = setting(8, "rounds of timing; 0: no times", check=at_least(0, MOST))


def measure(settings: CostSettings) -> Numbers:
    """Compute operations_n and seconds_nR of each part, and bytes_n of each form, alone and with the gradient."""
    D, lengths = settings.width, settings.lengths
    found: dict[str, Any] = {"lengths": lengths, "width": D}
    found["operations_n"] = {
        name: np.array([operations(part, *shapes_of(name, n, D)).total.products for n in lengths])
        for name, part in PARTS.items()
    }
    found["bytes_n"] = {
        form: {name: np.array([peak(make(form), n, D) for n in lengths]) for name, make in PASSES.items()}
        for form in FORMS
    }
    if settings.rounds:
        calls = {(name, n): timed(name, n, D) for name in PARTS for n in lengths}
        times = seconds_in_rounds(calls, settings.rounds)
        found["seconds_nR"] = {name: np.stack([times[name, n] for n in lengths]) for name in PARTS}
    return found


def scores_and_weights(
    query_BTNH: Float[Array, "B T N H"],
    key_BSKH: Float[Array, "B S K H"],
    value_BSKH: Float[Array, "B S K H"],
    form: str = "plain",
) -> Float[Array, "B T N H"]:
    """Compute causal attention of queries, keys and values in a form of `transformer.ops.kernels`."""
    return attend(query_BTNH, key_BSKH, value_BSKH, mask=masks.causal(), kernels=form)


def linear_maps(x_BTD: Float[Array, "B T D"], w_4DD: Array, up_DF: Array, down_FD: Array) -> Array:
    """Compute the projections of queries, keys, values and output, and a feed-forward; each reads rows of width D."""
    query, key, value = (linear(x_BTD, w_4DD[i]) for i in range(3))
    output_BTD = linear(query + key + value, w_4DD[3])
    return linear(jax.nn.relu(linear(output_BTD, up_DF)), down_FD)


PARTS: dict[str, Callable[..., Array]] = {QUADRATIC: scores_and_weights, LINEAR: linear_maps}


def shapes_of(name: str, n: int, D: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the shapes of a part's arguments."""
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        QUADRATIC: ((1, n, 1, D),) * 3,
        LINEAR: ((1, n, D), (4, D, D), (D, WIDER * D), (WIDER * D, D)),
    }
    return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes[name])


def timed(name: str, n: int, D: int) -> Callable[[], Array]:
    """Return a call of a part on random arrays, compiled once."""
    keys = jax.random.split(jax.random.key(n), 4)
    arrays = [jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, shapes_of(name, n, D), strict=False)]
    return functools.partial(jax.jit(PARTS[name]), *arrays)


def alone(form: str) -> Callable[..., Any]:
    """Return attention in a form."""
    return functools.partial(scores_and_weights, form=form)


def with_gradient(form: str) -> Callable[..., Any]:
    """Return the gradient of attention in a form, by queries, keys and values."""

    def objective(query_BTNH: Array, key_BSKH: Array, value_BSKH: Array) -> Array:
        return jnp.sum(scores_and_weights(query_BTNH, key_BSKH, value_BSKH, form) ** 2)

    return jax.grad(objective, (0, 1, 2))


PASSES: dict[str, Callable[[str], Callable[..., Any]]] = {"forward": alone, "with the gradient": with_gradient}


def peak(function: Callable[..., Any], n: int, D: int) -> int | float:
    """Return the peak bytes of a function of queries, keys and values; NaN where the platform gives no plan."""
    memory = memory_of(jax.jit(function).lower(*shapes_of(QUADRATIC, n, D)).compile())
    return float("nan") if memory is None else memory.peak


def draw(numbers: Numbers) -> Figure:
    """Draw operations, time and bytes against the length."""
    n, timed = numbers["lengths"], "seconds_nR" in numbers
    figure, grid = panels(4 if timed else 3, width=3.5, height=3.2)
    shown = [("operations_n", "matrix products of one layer", "operations")]
    shown += [("seconds_nR", "on this machine; shades: rounds", "time (seconds)")] * timed
    for axes, (name, title, label) in zip(grid[0], shown, strict=False):
        for i, (part, values) in enumerate(numbers[name].items()):
            curve(axes, n, np.asarray(values, float), part, i)
        axes.axvline(6 * numbers["width"], color="black", linestyle=":", linewidth=1.2)
        finish(axes, f"{title}; dotted: 6 D", "tokens n", label, legend=True)
    for axes, name in zip(grid[0, len(shown) :], PASSES, strict=True):
        for i, form in enumerate(FORMS):
            curve(axes, n, np.asarray(numbers["bytes_n"][form][name], float), form, i)
        finish(axes, f"peak of scores and weights, {name}", "tokens n", "bytes", legend=True)
    for axes in grid[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
    return figure


COST = Study(
    title=Text("Cost of a layer of attention against the length", "一层注意力的开销随长度的变化"),
    settings=CostSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="about 4 min",
    preview={"lengths": (64, 128, 256, 512, 1024, 1536, 2048), "rounds": 4},
)
