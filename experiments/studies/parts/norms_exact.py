"""Computed part of the study of norms: leaks of the statistics of batch norm into a causal model.

The derivative of a row of a causal model by a later row is zero, unless the statistics of a norm are over both. The
control is layer norm, whose statistics are of one row. Parameters and inputs are random.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY
from experiments.studies.frame.claim import CONTROL, Claim, DrawnSettings, Numbers
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.batch_norm import FEATURE, LAYER, NORMS, POSITION, normed_model
from experiments.studies.parts.identities import NONE, explained, present
from transformer import Model
from transformer.models.config import model_config
from transformer.schema import at_least, setting

PANELS = 3
CASES = (
    (Text("per feature, in training", "按特征，训练时"), FEATURE, "learning"),
    (Text("per position, in training", "按位置，训练时"), POSITION, "learning"),
    (Text("per feature, in use (stored averages)", "按特征，使用时（已存的平均值）"), FEATURE, "using"),
    (Text("per position, in use (stored averages)", "按位置，使用时（已存的平均值）"), POSITION, "using"),
)
"""Names of the cases, norm and phase."""
TOKENS = 2


@dataclasses.dataclass(frozen=True)
class NormsExactSettings(DrawnSettings):
    """Settings of the computed part of the study of norms."""

    leak_length: int = setting(8, "rows of the models whose leaks are computed (T)", check=at_least(2, 64))
    leak_batch: int = setting(8, "sequences in the batch of these models", check=at_least(2, 64))
    leak_width: int = setting(32, "model width D of these models, a multiple of 4", check=at_least(4, 1024))


def measure(settings: NormsExactSettings) -> dict[str, Any]:
    """Compute the leaks of each norm, by its name; see `leak`."""
    return {"leaks": {name: leak(settings, name) for name in (LAYER, FEATURE, POSITION)}}


def leak(settings: NormsExactSettings, name: str) -> dict[str, np.ndarray]:
    """Compute |d hidden_i / d x_j| of a causal model with a row of NORMS, for x of the same sequence and of others.

    `learning`: normalised with the batch's statistics; `using`: with averages. Of each there are `_RTT`, the sizes
    within one sequence as shares of the largest of all, `_future_R`, the largest with j > i, and `_others_R`, the
    largest of other sequences.
    """
    T, B, D = settings.leak_length, settings.leak_batch, settings.leak_width
    config = model_config(dict(architecture="encoder_only", vocab_size=TOKENS, width=D, num_heads=2, position="rotary"))
    model = normed_model(config, NORMS[name], causal=True)
    sizes = jax.jit(jax.vmap(lambda seed: _sizes(model, seed, (B, T, D))))(jnp.array(settings.seeds, jnp.uint32))
    after_TT = np.triu(np.ones((T, T), bool), 1)
    found: dict[str, np.ndarray] = {}
    for when, size_R2TT in sizes.items():
        size_R2TT = np.asarray(size_R2TT, float)
        size_R2TT /= size_R2TT.max((1, 2, 3), keepdims=True)
        found[f"{when}_RTT"] = size_R2TT[:, 0]
        found[f"{when}_future_R"] = size_R2TT[:, 0][:, after_TT].max(-1)
        found[f"{when}_others_R"] = size_R2TT[:, 1].max((1, 2))
    return found


def _sizes(model: Model, seed: Array, shape: tuple[int, int, int]) -> dict[str, Array]:
    """Compute |d hidden_i / d x_j| by phase, 2 T T: of the first sequence itself, and the largest of other ones."""
    B, T, _ = shape
    key = jax.random.key(seed)
    params = model.init(key)
    x_BTD = jax.random.normal(jax.random.fold_in(key, 1), shape, jnp.float32)
    tokens_BT, lengths_B = jnp.zeros((B, T), jnp.int32), jnp.full(B, T)

    def first(x_BTD: Array, learn: float | None) -> Array:
        batch = {"source": tokens_BT, "source_lengths": lengths_B, "embedded": x_BTD}
        return model.module.apply({"params": params}, batch, learn=learn)["hidden"][0]

    found = {}
    for when, learn in (("learning", 1.0), ("using", None)):
        size_TBS = jnp.linalg.norm(jax.jacrev(first)(x_BTD, learn), axis=(1, -1))
        found[when] = jnp.stack([size_TBS[:, 0], size_TBS[:, 1:].max(1)])
    return found


def judge(numbers: Numbers, place: int = 5) -> Claim:
    """Judge the claim that batch norm leaks the future; `place` is its number within the study."""
    leaks = numbers["leaks"]
    cases = tuple(
        present(
            name,
            leaks[norm][f"{when}_future_R"],
            leaks[LAYER]["learning_future_R"],
            what=Text(
                "largest derivative by a later row / largest of all", "对后面各行的最大导数 / 所有导数中的最大值"
            ),
            control=Text("control, layer norm", "对照（层归一化）"),
        )
        for name, norm, when in CASES
    )
    others = float(np.min(np.asarray(leaks[POSITION]["learning_others_R"], float)))
    return Claim(
        place,
        Text("Batch norm leaks the future into a causal model", "批归一化把未来的信息泄漏到因果模型中"),
        Text(
            "holds exactly: the largest derivative by a later row of the same sequence is above "
            f"{CONTROL * NONE:g} of the largest of all in every draw, and with layer norm it is below {NONE:g}; "
            f"counterexample: it is below {NONE:g} in every draw",
            f"精确成立：每次抽样中，对同一序列中后面各行的最大导数都大于所有导数中最大值的 {CONTROL * NONE:g} 倍，"
            f"而层归一化时小于 {NONE:g} 倍；反例：每次抽样中都小于 {NONE:g} 倍",
        ),
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, *[COUNTEREXAMPLE] * 3),
            Text(
                "In training, a mean over positions includes later positions, so the future leaks. A mean at "
                "one position "
                "includes no later position, but it includes other sequences (derivative {x} of the largest or "
                "more). In "
                "use, stored averages are taken and nothing leaks.",
                "训练时，对位置求的平均包含后面的位置，因此未来的信息会泄漏。在单个位置上求的平均不包含后面的位置，"
                "但包含其他序列（导数至少为最大导数的 {x} 倍）。使用时采用已存的平均值，没有泄漏。",
            ).format(x=number(others, 2)),
        ),
    )


def draw_panels(panels_of: Sequence[Axes], numbers: Numbers) -> None:
    """Draw the derivatives of the first draw in training on a logarithmic scale; blank: zero."""
    for axes, name in zip(panels_of, (LAYER, FEATURE, POSITION), strict=True):
        size_TT = np.asarray(numbers["leaks"][name]["learning_RTT"], float)[0]
        image = axes.imshow(np.ma.masked_equal(size_TT, 0.0), norm=LogNorm(1e-4, 1.0), cmap="viridis")
        axes.set_title(f"causal, in training: {name}", fontsize=9, loc="left")
        axes.set_xlabel("input j of the same sequence", fontsize=9)
        axes.set_ylabel("output i", fontsize=9)
        axes.tick_params(labelsize=8, length=2)
        axes.set_xticks(range(len(size_TT)))
        axes.set_yticks(range(len(size_TT)))
    bar = panels_of[0].figure.colorbar(image, ax=panels_of, shrink=0.8)
    bar.set_label("|dc_i / dx_j| / largest (blank: 0)", fontsize=8)
