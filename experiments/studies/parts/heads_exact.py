"""Computed part of the study of heads: N heads of H entries, concatenated, against one head of N H entries.

Both get the same queries, keys and values. The values differ, since each head has a softmax of its own. The control
gives every head the weights of the wide one, and then the values are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.comparing.decision import COUNTEREXAMPLE, UNDECIDED
from experiments.studies.frame.claim import CONTROL, TOLERANCE, Case, Claim, Numbers, exact
from experiments.studies.frame.text import Text
from experiments.studies.parts.identities import explained, shown
from transformer.ops.attend import attention_weights
from transformer.ops.scoring import mix

HEADS, HEAD_WIDTH = 12, 64
"""Number and width of the heads of BERT base and GPT-2 small."""
SEEDS = (0, 1, 2, 3)


def measure(seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Compute own_R and alike_R of `concatenated`, and the sizes of the heads."""
    keys_R = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    return {"count": HEADS, "head_width": HEAD_WIDTH, **concatenated(keys_R, HEADS, HEAD_WIDTH)}


def concatenated(keys_R: Array, heads: int, head_width: int, length: int = 32) -> Mapping[str, np.ndarray]:
    """Compare N heads, concatenated, with one head of N H: largest difference / largest entry of each draw.

    `own_R`: each head has its own weights. `alike_R`: all heads have the weights of the wide one.
    """

    def one(key: Array) -> dict[str, Array]:
        query, keys, value = jax.random.normal(key, (3, 1, length, heads, head_width), jnp.float32)

        def wide(x: Array) -> Array:
            return x.reshape(1, length, 1, heads * head_width)

        def difference(x: Array) -> Array:
            return jnp.max(jnp.abs(x.reshape(expected.shape) - expected)) / jnp.max(jnp.abs(expected))

        weights_BTS = attention_weights(wide(query), wide(keys))
        expected = mix(weights_BTS, wide(value)).reshape(1, length, -1)
        alike = jnp.broadcast_to(weights_BTS, (1, heads, length, length))
        found = {"own_R": mix(attention_weights(query, keys), value), "alike_R": mix(alike, value)}
        return jax.tree.map(difference, found)

    return jax.device_get(jax.vmap(one)(keys_R))


def judge(numbers: Numbers, place: int = 5) -> Claim:
    """Judge the claim that concatenated heads are one wide head.

    Args:
        numbers: those of `measure`.
        place: number of the claim within its study.
    """
    N, H = numbers["count"], numbers["head_width"]
    name = Text(f"{N} x {H} against {N * H}", f"{N} × {H} 与 {N * H}")
    case = exact(name, numbers["own_R"])
    alike = float(np.max(np.asarray(numbers["alike_R"], float)))
    control = Text(
        "; control, the wide head's weights in every head, largest difference {x}",
        "；对照（每个头都用宽头的权重），最大差异 {x}",
    ).format(x=shown(alike))
    word = case.word if alike < TOLERANCE else UNDECIDED
    measured = Text(*map("".join, zip(case.measured, control, strict=True)))
    case = Case(name, word, measured, numbers={**case.numbers, "control": alike})
    return Claim(
        place,
        Text(
            f"{N} heads of {H} concatenated equal one head of {N * H}",
            f"{N} 个宽为 {H} 的头拼接起来，等于一个宽为 {N * H} 的头",
        ),
        Text(
            "counterexample: with the same queries, keys and values, the smallest difference of all draws, relative to "
            f"the largest entry, is above {CONTROL * TOLERANCE:g}, and that of the control is below {TOLERANCE:g}",
            f"反例：查询、键和值相同时，所有抽样的最小差异（相对于最大元素）大于 {CONTROL * TOLERANCE:g}，"
            f"且对照的差异小于 {TOLERANCE:g}",
        ),
        (case,),
        explained(
            (case,),
            (COUNTEREXAMPLE,),
            Text(
                "Only the shape is the same. Each head has its own softmax; a wide head has one for all entries.",
                "相同的只有形状。每个头有自己的 softmax；一个宽头的所有元素共用一个 softmax。",
            ),
        ),
    )
