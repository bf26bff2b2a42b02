"""One function for self- and cross-attention: the library's layers of both kinds, compared bit by bit.

self    C = Attn(X, X)       cross    C = Attn(X, X')
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from transformer.models.config import model_config
from transformer.nn.attention import Attention, AttentionInputs
from transformer.nn.intermediates import Request
from transformer.nn.modifiers import PositionBias
from transformer.nn.positions import POSITIONS
from transformer.nn.recorder import Recorder
from transformer.ops import masks
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import find

HEADS = 4


def one_function(seeds: Sequence[int], width: int) -> dict[str, Any]:
    """Compare a self and a cross layer with the same random parameters, for each row of POSITIONS.

    `differ_R`: share of the entries of Attn(X, X) that differ in a bit. `written_out_R`: relative difference from the
    equation, in float64; `other_R`: that of Attn(X, X') from Attn(X, X).
    """
    found = {name: [layers(seed, name, width) for seed in seeds] for name in POSITIONS}
    return {name: {key: np.array([row[key] for row in rows]) for key in rows[0]} for name, rows in found.items()}


def layers(seed: int, position: str, width: int) -> dict[str, float]:
    """Compare the layers of one position and seed; operation by operation, so that no compiler fuses any."""
    B, T = 2, 7
    config = model_config(dict(architecture="seq2seq", num_heads=HEADS, width=width, position=position))
    for_x, for_other, for_layer, for_bias = jax.random.split(jax.random.key(seed), 4)
    x_BTD, other_BTD = (jax.random.normal(key, (B, T, width), jnp.float32) for key in (for_x, for_other))
    positions, lengths_B = QueryKeyPositions(jnp.arange(T), jnp.arange(T)), jnp.array([T, T - 2])
    biases = PositionBias(config, False)
    bias = biases.apply(randomised(for_bias, biases.init(for_bias, positions)), positions)
    inputs = AttentionInputs(masks.padding(lengths_B), Recorder(Request(), "decoder", 0), positions=positions)
    score = find(config.score)
    of_self, of_cross = Attention(config, "self", score), Attention(config, "cross", score)
    params = randomised(for_layer, of_self.init(for_layer, x_BTD, x_BTD, inputs))
    own_BTD, _ = of_self.apply(params, x_BTD, x_BTD, inputs._replace(bias=bias))
    cross_BTD, _ = of_cross.apply(params, x_BTD, x_BTD, inputs)
    crossed_BTD, _ = of_cross.apply(params, x_BTD, other_BTD, inputs)
    return {
        "differ_R": float(jnp.mean(own_BTD.view(jnp.uint32) != cross_BTD.view(jnp.uint32))),
        "written_out_R": relative(cross_BTD, written_out(params["params"], x_BTD, x_BTD, lengths_B)),
        "written_out_other_R": relative(crossed_BTD, written_out(params["params"], x_BTD, other_BTD, lengths_B)),
        "other_R": relative(crossed_BTD, cross_BTD),
    }


def randomised(key: Array, params: Any) -> Any:
    """Add random numbers to all parameters, since some, such as biases, start at zero."""
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(key, x.shape, jnp.float32), params)


def written_out(params: Any, target_BTD: Array, source_BSD: Array, lengths_B: Array) -> np.ndarray:
    """Compute softmax(Q K^T / sqrt(H)) V of each head, without the keys from a length on, and project the output."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    source_BSD = np.asarray(source_BSD, np.float64)

    def project(name: str, x: np.ndarray) -> np.ndarray:
        return np.einsum("btd,dnh->bnth", x, params[name]["kernel"]) + params[name]["bias"][:, None]

    query = project("query", np.asarray(target_BTD, np.float64))
    key, value = project("key", source_BSD), project("value", source_BSD)
    scores = np.exp(query @ np.swapaxes(key, 2, 3) / np.sqrt(query.shape[-1]))
    scores *= (np.arange(key.shape[2]) < np.asarray(lengths_B)[:, None])[:, None, None]
    heads = scores / scores.sum(-1, keepdims=True) @ value
    return np.einsum("bnth,nhd->btd", heads, params["output"]["kernel"]) + params["output"]["bias"]


def relative(x: Array, y: Array) -> float:
    """Compute |x - y| / |y|."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))
