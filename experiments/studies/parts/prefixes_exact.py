"""Computed part of the study of prefixes: one masked pass against all prefixes, and what a row depends on.

    one pass       loss = sum over t of -log p(x_{t+1} | row t), under the causal mask
    one by one     loss = sum over t of -log p(x_{t+1} | last row of a pass over x_1 .. x_t)

Under the mask row t does not depend on a row after t, so row t of the whole pass is the last row of the pass over its
prefix. Without the mask it does, which is the control. Parameters and tokens are random.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.axes import Axes

import transformer
from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY, UNDECIDED
from experiments.studies.frame.claim import (
    CONTROL,
    MOST,
    TOLERANCE,
    Claim,
    DrawnSettings,
    Numbers,
    exact,
    random_keys,
)
from experiments.studies.frame.pictures import finish, points
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.identities import explained, shown
from experiments.studies.parts.jacobians import by_token
from transformer import Model
from transformer.schema import at_least, setting

VOCABULARY, LAYERS, HEADS = 61, 2, 4
SHAPE = dict(vocab_size=VOCABULARY, num_layers=LAYERS, num_heads=HEADS)
READINGS = ("loss_R", "gradient_R")


@dataclasses.dataclass(frozen=True)
class PrefixesExactSettings(DrawnSettings):
    """Settings of the computed part of the study of prefixes."""

    length: int = setting(8, "tokens of the passes that are compared (T)", check=at_least(2, MOST))
    width: int = setting(64, f"model width D, a multiple of {HEADS}", check=at_least(HEADS, MOST))


def measure(settings: PrefixesExactSettings) -> dict[str, Any]:
    """Compute loss_R and gradient_R with and without the mask, and before_R: what a row takes from those before it."""
    masked, unmasked = (
        transformer.build(dict(SHAPE, width=settings.width, architecture=name))
        for name in ("decoder_only", "encoder_only")
    )
    alone = transformer.build(dict(SHAPE, width=settings.width, architecture="decoder_only", window=1))
    keys_R, T = random_keys(settings), settings.length
    found: dict[str, Any] = {
        "masked": differences(masked, "target", keys_R, T),
        "unmasked": differences(unmasked, "source", keys_R, T),
    }
    found |= {name: before(model, keys_R, T) for name, model in (("before_R", masked), ("before_alone_R", alone))}
    return {"length": T, **found}


def differences(model: Model, side: str, keys_R: Array, T: int) -> dict[str, np.ndarray]:
    """Compute the relative differences of the rows' losses, and of the gradient of their sum, for each draw, R.

    Args:
        side: the input of the model, "target" or "source".
    """

    def drawn(key: Array) -> tuple[Any, Array]:
        tokens = jax.random.randint(jax.random.fold_in(key, 1), (3, T + 1), 0, VOCABULARY, jnp.int32)
        return model.init(key), tokens

    def row_losses(params: Any, tokens: Array) -> Array:
        logits = model.apply(params, {side: tokens[:, :-1]})["logits"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])

    def one_pass(params: Any, tokens: Array) -> tuple[Array, Array]:
        loss_BT = row_losses(params, tokens)
        return loss_BT.sum(), loss_BT

    def last_row(params: Any, tokens: Array) -> tuple[Array, Array]:
        loss_B = row_losses(params, tokens)[:, -1]
        return loss_B.sum(), loss_B

    def each(loss: Callable[[Any, Array], tuple[Array, Array]]) -> Callable[[Any, Array], tuple[Any, Any]]:
        return jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))

    params, tokens_RBT = jax.vmap(drawn)(keys_R)
    (_, loss_RBT), gradient = each(one_pass)(params, tokens_RBT)
    of_prefix = each(last_row)
    parts = [of_prefix(params, tokens_RBT[..., : t + 2]) for t in range(T)]
    last_RBT = jnp.stack([loss_RB for (_, loss_RB), _ in parts], axis=-1)
    other = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), [of_part for _, of_part in parts])
    norm = jax.vmap(optax.tree.norm)
    apart_R = norm(jax.tree.map(jnp.subtract, gradient, other)) / norm(gradient)
    loss_R = jnp.abs(loss_RBT - last_RBT).max((1, 2)) / loss_RBT.max((1, 2))
    return {"loss_R": np.asarray(loss_R, float), "gradient_R": np.asarray(apart_R, float)}


def before(model: Model, keys_R: Array, T: int) -> np.ndarray:
    """Compute the smallest |dhidden_t / dx_s| of all s < t, as a share of the largest of all s and t, R."""
    blocks_RTT = np.asarray(jax.jit(jax.vmap(lambda key: by_token(model, key, T, 0)[1]))(keys_R), float)
    earlier = np.tril(np.ones((T, T), bool), -1)
    return blocks_RTT[:, earlier].min(-1) / blocks_RTT.max((1, 2))


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge claim 1, one pass against all prefixes, and claim 3, rows as bigrams."""
    return [judge_pass(numbers), judge_bigrams(numbers)]


def judge_pass(numbers: Numbers, place: int = 1) -> Claim:
    """Judge the claim that one masked pass is training on all prefixes; `place` is its number within the study."""
    T = int(numbers["length"])
    masked, unmasked = numbers["masked"], numbers["unmasked"]
    names = {"loss_R": Text("loss of each row", "每一行的损失"), "gradient_R": Text("gradient", "梯度")}
    control = Text("control, no mask, smallest difference", "对照（没有掩码），最小差异")
    cases = tuple(exact(text, masked[name], unmasked[name], control=control) for name, text in names.items())
    read = T * (T + 1) // 2
    return Claim(
        place,
        Text(
            "One masked pass is the same as training on all prefixes one by one",
            "带掩码的一次前向计算，等于在所有前缀上逐个训练",
        ),
        Text(
            f"holds exactly: largest relative difference of all draws below {TOLERANCE:g}, and that of the control, "
            f"the same model without the mask, above {CONTROL * TOLERANCE:g}",
            f"精确成立：所有抽样的最大相对差异小于 {TOLERANCE:g}，"
            f"且对照（同一模型去掉掩码）大于 {CONTROL * TOLERANCE:g}",
        ),
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, HOLDS_EXACTLY),
            Text(
                "Row t does not depend on a row after t, so it is the last row of its own prefix. Row t contains "
                "information from all tokens up to t. When the model predicts, only the last row is used. Every "
                "other row is one more training example at no extra cost: {T} rows are computed in place of {read}, "
                "{ratio} times fewer.",
                "第 t 行不依赖 t 之后的行，因此它就是自己那个前缀的最后一行。第 t 行包含到 t 为止所有词元的信息。"
                "模型预测时只用最后一行。其余每一行都是不增加计算量的又一个训练样本："
                "只需计算 {T} 行，而不是 {read} 行，减少到 1/{ratio}。",
            ).format(T=T, read=read, ratio=number(read / T, 2)),
        ),
    )


def judge_bigrams(numbers: Numbers, place: int = 3) -> Claim:
    """Judge the claim that each row learns from its own token only; `place` is its number within the study."""
    case = exact(
        Text("two layers, causal mask", "两层，因果掩码"),
        numbers["before_R"],
        what=Text(
            "largest derivative by an earlier token / largest of all", "对前面词元的最大导数 / 所有导数中的最大值"
        ),
    )
    alone = float(np.max(np.asarray(numbers["before_alone_R"], float)))
    control = Text("; control, a window of one token, {x}", "；对照（窗口为一个词元）{x}").format(x=shown(alone))
    word = case.word if alone < TOLERANCE else UNDECIDED
    case = dataclasses.replace(case, word=word, measured=Text(*map("".join, zip(case.measured, control, strict=True))))
    return Claim(
        place,
        Text("Each row learns from its own token only (bigrams)", "每一行只从它自己的词元学习（二元组）"),
        Text(
            "counterexample: in all draws, the derivative of row t by every token before t is above "
            f"{CONTROL * TOLERANCE:g} of the largest, and with a window of one token it is below {TOLERANCE:g}",
            f"反例：在所有抽样中，第 t 行对 t 之前每个词元的导数都大于最大导数的 {CONTROL * TOLERANCE:g} 倍，"
            f"而窗口为一个词元时小于 {TOLERANCE:g} 倍",
        ),
        (case,),
        explained(
            (case,),
            (COUNTEREXAMPLE,),
            Text(
                "Row t depends on its own token and on every token before it.",
                "第 t 行依赖它自己的词元以及它之前的每个词元。",
            ),
        ),
    )


def draw_panel(axes: Axes, numbers: Numbers) -> None:
    """Draw the differences of loss and gradient, with the mask and, as the control, without it."""
    names = [f"{reading}, {mask}" for mask in ("with the mask", "no mask") for reading in ("loss", "gradient")]
    values = [numbers[row][reading] for row in ("masked", "unmasked") for reading in READINGS]
    points(axes, names, np.array(values, float), low=1e-9)
    axes.axvline(TOLERANCE, color="black", linestyle=":", linewidth=1.2)
    axes.axvspan(1e-10, TOLERANCE, color="black", alpha=0.05, linewidth=0)
    axes.set_xlim(5e-10, 10.0)
    T = int(numbers["length"])
    finish(axes, f"{T} rows of one pass against {T * (T + 1) // 2} of all prefixes", "relative difference", "")
