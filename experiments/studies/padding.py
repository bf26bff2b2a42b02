"""Padding: ways to keep it out of attention, and masks that describe where it is.

    weights = softmax(scores),   c = sum of weights x values

Each way is tried on a batch of three sources: full, padded, and empty (all of it padding). The expected output of an
example is that of the example alone, without its padding; of the empty one it is zero. The values in the padding are
random, so that any influence of theirs shows.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.studies.frame.claim import MOST, TOLERANCE, DrawnSettings, Numbers, Study, random_keys
from experiments.studies.frame.pictures import matrix, panels
from experiments.studies.frame.text import Text
from experiments.studies.parts.padding_claims import EMPTY, PADDED, judge
from experiments.studies.parts.padding_claims import WAYS as NAMES
from transformer.inspection.plots import COLOURS
from transformer.ops import masks
from transformer.ops.softmax import masked_softmax
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class PaddingSettings(DrawnSettings):
    """Ways to keep padding out of attention: python -m experiments.studies padding"""

    length: int = setting(8, "rows of each source (S)", check=at_least(4, MOST))
    padding: int = setting(3, "rows of padding in the padded source", check=at_least(1, MOST))
    width: int = setting(16, "width D, which is also the head width H", check=at_least(2, MOST))


def plain_softmax(x_BSD: Array, real_BS: Array, scores_BTS: Array) -> Array:
    """Compute weights without regard to padding."""
    return jax.nn.softmax(scores_BTS, axis=-1)


def set_scores(value: float) -> Callable[..., Array]:
    """Return a function that sets the scores of padding to `value` before the softmax."""
    return lambda x, real_BS, scores_BTS: jax.nn.softmax(jnp.where(real_BS[:, None], scores_BTS, value), axis=-1)


def library_softmax(x_BSD: Array, real_BS: Array, scores_BTS: Array) -> Array:
    """Compute weights with the library's masked softmax."""
    return masked_softmax(scores_BTS[:, None], real_BS[:, None, None])[:, 0]


def unchanged(x_BSD: Array, real_BS: Array) -> Array:
    """Return the embeddings as they are."""
    return x_BSD


def set_embeddings(value: float) -> Callable[..., Array]:
    """Return a function that sets the embeddings of padding to `value`."""
    return lambda x_BSD, real_BS: jnp.where(real_BS[..., None], x_BSD, value)


class Way(NamedTuple):
    """A way to treat padding."""

    embed: Callable[..., Array]
    """(x_BSD, real_BS) -> x_BSD"""
    weigh: Callable[..., Array]
    """(x_BSD, real_BS, scores_BTS) -> weights_BTS"""
    dtype: DTypeLike = jnp.float32


WAYS: dict[str, Way] = dict(
    zip(
        NAMES,
        (
            Way(unchanged, plain_softmax),
            Way(set_embeddings(-jnp.inf), plain_softmax),
            Way(set_embeddings(0.0), plain_softmax),
            Way(unchanged, set_scores(0.0)),
            Way(unchanged, set_scores(-1e9)),
            Way(unchanged, set_scores(-1e9), jnp.float16),
            Way(unchanged, set_scores(-jnp.inf)),
            Way(unchanged, library_softmax),
        ),
        strict=True,
    )
)
READINGS = {
    "nan": "outputs that\nare NaN",
    "error": "difference\nfrom alone",
    "weight": "weight on\npadding",
    "leak": "gradient to\npadding",
    "nan_gradient": "gradient of W\nthat is NaN",
}
"""Column heads of the table, by reading."""
SHARES = ("nan", "nan_gradient")
"""Readings that are shares of entries."""


def attention(own: Way, w_3DH: Array, target_BTD: Array, x_BSD: Array, real_BS: Array) -> tuple[Array, Array]:
    """Compute (c B T H, weights B T S) of one head, with the padding treated in the given way."""
    w_3DH, target_BTD, x_BSD = (x.astype(own.dtype) for x in (w_3DH, target_BTD, x_BSD))
    x_BSD = own.embed(x_BSD, real_BS)
    q_BTH, k_BSH, v_BSH = target_BTD @ w_3DH[0], x_BSD @ w_3DH[1], x_BSD @ w_3DH[2]
    scores_BTS = jnp.einsum("BTH,BSH->BTS", q_BTH, k_BSH) * q_BTH.shape[-1] ** -0.5
    weights_BTS = own.weigh(x_BSD, real_BS, scores_BTS)
    return jnp.einsum("BTS,BSH->BTH", weights_BTS, v_BSH), weights_BTS


def alone(own: Way, w_3DH: Array, target_BTD: Array, x_BSD: Array, lengths: Sequence[int]) -> Float[Array, "B T H"]:
    """Compute the expected outputs: each example by itself, cut to its length, without rows of padding."""
    rows, own = [], Way(unchanged, plain_softmax, own.dtype)
    for b, length in enumerate(lengths):
        real_1S = jnp.ones((1, length), bool)
        c_1TH, _ = attention(own, w_3DH, target_BTD[b : b + 1], x_BSD[b : b + 1, :length], real_1S)
        rows.append(c_1TH)
    return jnp.concatenate(rows)


def measure(settings: PaddingSettings) -> Numbers:
    """Compute, by way and reading, an array R B (B: examples), and the masks of the figure."""
    S, D = settings.length, settings.width
    lengths = (S, max(S - settings.padding, 1), 0)
    keys = random_keys(settings)
    found = {}
    for way, own in WAYS.items():
        # Operation by operation: to compile it as a whole takes far longer than to run it.
        read = jax.vmap(lambda key, own=own: readings(own, key, lengths, S, D))(keys)
        found[way] = {name: np.asarray(x, float) for name, x in read.items()}
    return {"lengths": lengths, "ways": found, "masks": pictures_of_masks(S, lengths[PADDED])}


def readings(own: Way, key: Array, lengths: Sequence[int], S: int, D: int) -> Mapping[str, Array]:
    """Compute the readings of one draw of projections and sources, for each of B examples."""
    for_w, for_x, for_target, for_direction = jax.random.split(key, 4)
    w_3DH = jax.random.normal(for_w, (3, D, D), jnp.float32) * D**-0.5
    x_BSD, target_BTD = (
        jax.random.normal(for_x, (3, S, D), jnp.float32),
        jax.random.normal(for_target, (3, 4, D), jnp.float32),
    )
    direction_BTH = jax.random.normal(for_direction, (3, 4, D), jnp.float32)
    real_BS = jnp.arange(S) < jnp.array(lengths)[:, None]

    def objective(w_3DH: Array, x_SD: Array, target_TD: Array, real_S: Array, direction_TH: Array) -> Array:
        c_1TH, _ = attention(own, w_3DH, target_TD[None], x_SD[None], real_S[None])
        return jnp.sum(c_1TH[0] * direction_TH)

    c_BTH, weights_BTS = attention(own, w_3DH, target_BTD, x_BSD, real_BS)
    each = jax.vmap(jax.grad(objective, (0, 1)), (None, 0, 0, 0, 0))
    by_w, by_x = each(w_3DH, x_BSD, target_BTD, real_BS, direction_BTH)

    def largest(x: Array) -> Array:
        return jnp.abs(x).max(axis=tuple(range(1, x.ndim)))

    return {
        "nan": jnp.isnan(c_BTH).mean(axis=(1, 2)),
        "error": largest(c_BTH - alone(own, w_3DH, target_BTD, x_BSD, lengths)),
        "weight": jnp.where(real_BS[:, None], 0.0, weights_BTS).sum(-1).max(-1),
        "leak": largest(jnp.where(real_BS[..., None], 0.0, by_x)),
        "nan_gradient": jnp.isnan(by_w).mean(axis=(1, 2, 3)),
    }


def pictures_of_masks(S: int, length: int) -> Mapping[str, np.ndarray]:
    """Return arrays with 1 where a key is visible to a query: encoder, decoder and cross-attention."""
    lengths_B, T = jnp.array([length]), S
    shown = {
        "encoder self: padding": masks.padding(lengths_B),
        "decoder self: causal": masks.causal(),
        "decoder self: causal & padding": masks.causal() & masks.padding(lengths_B),
        "cross: padding of the source": masks.padding(lengths_B),
    }
    rows = {name: max(T - 2, 2) if name.startswith("cross") else T for name in shown}
    return {
        name: np.broadcast_to(mask.allowed(jnp.arange(rows[name]), S)[0, 0], (rows[name], S)).astype(int)
        for name, mask in shown.items()
    }


def draw(numbers: Numbers) -> Figure:
    """Draw the masks, and a table of the readings for the padded and for the empty source."""
    figure, grid = panels(4, 2, width=2.9, height=2.7)
    for axes, (name, mask_TS) in zip(grid[0], numbers["masks"].items(), strict=True):
        matrix(axes, np.asarray(mask_TS), f"{name}\n(yellow: visible)", rows="query", columns="key", top=1.0)
    layout = grid[1, 0].get_gridspec()
    for axes in grid[1]:
        axes.remove()
    for column, (b, title) in enumerate({PADDED: "a padded source", EMPTY: "a source that is all padding"}.items()):
        axes = figure.add_subplot(layout[1, 2 * column : 2 * column + 2])
        _table(axes, numbers["ways"], b, title)
    return figure


def _table(axes: Axes, ways: Mapping[str, Mapping[str, np.ndarray]], b: int, title: str) -> None:
    """Draw a table of the worst of all draws, with a coloured cell where zero is expected and not found."""
    axes.set_title(f"{title} (worst of the draws; orange: 0 is expected)", fontsize=9, loc="left")
    axes.set_xlim(-0.5, len(READINGS) - 0.5)
    axes.set_ylim(len(ways) - 0.5, -0.5)
    for row, way in enumerate(ways.values()):
        for column, name in enumerate(READINGS):
            value = float(np.max(np.asarray(way[name], float)[:, b]))
            if not value <= TOLERANCE:
                axes.add_patch(_cell(column, row))
            axes.text(column, row, _shown(value, name in SHARES), ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(READINGS)), READINGS.values(), fontsize=7)
    axes.set_yticks(range(len(ways)), ways, fontsize=8)
    axes.tick_params(length=0)


def _shown(value: float, is_share: bool) -> str:
    """Format a reading: a share as a percentage, a size to two digits."""
    if np.isnan(value):
        return "NaN"
    return f"{value:.0%}" if is_share else f"{value:.2g}"


def _cell(column: int, row: int) -> Rectangle:
    """Return the coloured background of a cell."""
    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=COLOURS[4], alpha=0.7, linewidth=0)


PADDING = Study(
    title=Text(
        "Masks, and the effect of other ways to keep padding out of attention", "掩码，以及用其他方法排除填充的效果"
    ),
    settings=PaddingSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
