"""Gradient path: how much the state at position T depends on the first token, by T, before training.

    |dh_T / dx_1| / |dh_T / dx_T|        x the embeddings, h the hidden states, Frobenius norms of the D x D Jacobians

A recurrent state reads the first token through T - 1 steps; a layer of attention reads it in one (Vaswani et al. 2017,
table 1). All models look back alone, so h_T of one long sequence is the last state of its first T tokens. The ratio is
computed in float32, and read down to TINY, below which it could not be told from zero.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, DrawnSettings, Numbers, Study, some_seeds
from experiments.studies.frame.pictures import curve, finish, panels, powers
from experiments.studies.frame.text import Text
from experiments.studies.parts.gradient_claims import RECURRENT, TINY, by_distance, judge, ratios
from experiments.studies.parts.jacobians import of_table
from experiments.studies.parts.laws import rising
from transformer import Model
from transformer.schema import at_least, setting

MODELS: dict[str, dict[str, Any]] = {
    "GRU": {"recurrent": {"attention": "none", "cell": "gru"}},
    "LSTM": {"recurrent": {"attention": "none", "cell": "lstm"}},
    "attention, no positions": {"position": "none"},
    "attention, rotary": {"position": "rotary"},
    "attention, alibi": {"position": "alibi"},
}
"""Settings of the models: recurrent ones of one layer, and attention of two."""
DISTANCES = 40
"""Most distances within a sequence, evenly spaced on a logarithmic axis."""


@dataclasses.dataclass(frozen=True)
class GradientPathSettings(DrawnSettings):
    """Dependence of the last state on the first token, by length: python -m experiments.studies gradient_path"""

    seeds: tuple[int, ...] = setting(tuple(range(8)), "seeds of the random draws", check=some_seeds)
    lengths: tuple[int, ...] = setting(
        (8, 16, 32, 64, 128, 256, 512),
        "numbers of tokens T, rising",
        check=rising(3),
    )
    width: int = setting(32, "width D, a multiple of 2 x heads", check=at_least(2, MOST))
    heads: int = setting(2, "number of heads N of the attention", check=at_least(1, MOST))


def measure(settings: GradientPathSettings) -> Numbers:
    """Compute, for each model, |dh_T / dx_1| and |dh_T / dx_T| by length, and |dh_T / dx_s| by distance T - s."""
    longest, found = max(settings.lengths), {}
    distances = np.unique(np.geomspace(1, longest - 1, DISTANCES).round().astype(int))
    keys = [jax.random.key(seed) for seed in settings.seeds]
    tokens = [1 + jax.random.permutation(jax.random.fold_in(key, 1), longest) for key in keys]
    for name, own in MODELS.items():
        shape: dict[str, Any] = dict(vocab_size=longest + 1, width=settings.width, **own)
        if name in RECURRENT:
            shape |= dict(architecture="rnn_seq2seq", num_layers=1)
        else:
            shape |= dict(architecture="decoder_only", num_heads=settings.heads, num_layers=2)
        model = transformer.build(shape)
        read = jax.jit(functools.partial(norms, model, jnp.array(settings.lengths)))
        rows = [read(model.init(key), tokens_T) for key, tokens_T in zip(keys, tokens, strict=True)]
        found[name] = picked(np.asarray(rows, float), settings.lengths, distances)
    return {"lengths": settings.lengths, "distances": distances, "models": found}


def picked(norm_RLT: np.ndarray, lengths: Sequence[int], distances: np.ndarray) -> dict[str, np.ndarray]:
    """Return the norms of the first token and of the own one by length, and those by distance at the largest length."""
    own_RL = np.take_along_axis(norm_RLT, np.asarray(lengths)[None, :, None] - 1, axis=2)[..., 0]
    return {
        "first_LR": norm_RLT[..., 0].T,
        "own_LR": own_RL.T,
        "away_SR": norm_RLT[:, -1, max(lengths) - 1 - distances].T,
    }


def norms(model: Model, lengths_L: Int[Array, "L"], params: Any, tokens_T: Int[Array, "T"]) -> Float[Array, "L T"]:
    """Compute |dh_t / dx_s| of a sequence for each length t.

    Args:
        tokens_T: all different, so that the gradient of a row of the table of embeddings is that of the one token
            which reads it; not 0, which is the source of a model that has one.
    """
    batch = {"source": jnp.zeros((1, 1), jnp.int32), "target": tokens_T[None]}
    hidden, table_VD = of_table(model, params, batch)

    def state(table_VD: Array, length: Array) -> Array:
        return jnp.take(hidden(table_VD), length - 1, axis=0)

    def row(length: Array) -> Array:
        jacobian_DVD = jax.jacrev(state)(table_VD, length)
        largest = jnp.abs(jacobian_DVD).max(axis=(0, 2), keepdims=True)  # squares of small numbers would be 0
        scaled_DVD = jacobian_DVD / jnp.where(largest == 0.0, 1.0, largest)
        return (largest[0, :, 0] * jnp.sqrt(jnp.sum(scaled_DVD**2, axis=(0, 2))))[tokens_T]

    return jax.lax.map(row, lengths_L)


def draw(numbers: Numbers) -> Figure:
    """Draw the ratio against the length, on both kinds of axes, and the norm against the distance."""
    figure, grid = panels(3, width=3.7, height=3.2)
    for i, name in enumerate(MODELS):
        lengths_L, ratio_LR = ratios(numbers, name)
        for axes in grid[0, :2]:
            curve(axes, lengths_L.tolist(), ratio_LR, name, i)
        distance_S, norm_SR = by_distance(numbers, name)
        shown_S = (norm_SR > TINY).all(axis=1)
        curve(grid[0, 2], distance_S[shown_S].tolist(), norm_SR[shown_S], name, i, points=False)
    for axes in grid[0]:
        axes.set_yscale("log")
    powers(grid[0, 0], numbers["lengths"])
    for axes in (grid[0, 0], grid[0, 2]):
        axes.set_ylim(1e-4, 30.0)
    finish(grid[0, 0], "a power of T is a line", "tokens T", "|dh_T/dx_1| / |dh_T/dx_T|")
    finish(grid[0, 1], "an exponential of T is a line", "tokens T", "|dh_T/dx_1| / |dh_T/dx_T|", legend=True)
    grid[0, 2].set_xscale("log")
    T = max(numbers["lengths"])
    finish(grid[0, 2], f"T = {T}; shades: least to most of the draws", "distance T - s (tokens)", "|dh_T/dx_s|")
    return figure


GRADIENT_PATH = Study(
    title=Text(
        "Gradient from the last state to the first token against the length, without training",
        "未训练时，从最后一个状态到第一个词元的梯度随长度的变化",
    ),
    settings=GradientPathSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="about 3 min",
    preview={"lengths": (8, 16, 32, 64), "seeds": (0, 1, 2, 3)},
)
