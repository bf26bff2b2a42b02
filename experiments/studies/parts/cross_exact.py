"""Computed part of the study of self- and cross-attention: one function, and the decoder's only way to the source.

    self    C = Attn(X, X)       cross    C = Attn(X, X')

The layers are compared bit by bit (see `parts.one_function`). Without cross-attention the derivative of the decoder's
states by every token of the source is zero; with it no derivative is, which is the control.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

import transformer
from experiments.comparing.decision import HOLDS_EXACTLY
from experiments.studies.frame.claim import (
    CONTROL,
    MOST,
    TOLERANCE,
    Case,
    Claim,
    DrawnSettings,
    Numbers,
    exact,
    random_keys,
)
from experiments.studies.frame.pictures import matrix
from experiments.studies.frame.text import NOTHING, Text, number, same
from experiments.studies.parts.identities import explained, listed
from experiments.studies.parts.jacobians import by_token
from experiments.studies.parts.one_function import HEADS, one_function
from transformer.nn.positions import POSITIONS
from transformer.schema import at_least, setting

LAYERS = 2
PANELS = 2
LENGTHS = (9, 7)
"""Tokens of the target and of the source whose derivatives are computed."""


@dataclasses.dataclass(frozen=True)
class CrossExactSettings(DrawnSettings):
    """Settings of the computed part of the study of self- and cross-attention."""

    width: int = setting(64, f"model width D, a multiple of {HEADS}", check=at_least(HEADS, MOST))


def measure(settings: CrossExactSettings) -> dict[str, Any]:
    """Compute `bits` (see `one_function`) and blocks_RTS of a decoder with and without cross-attention."""
    T, S = LENGTHS
    shape = dict(architecture="seq2seq", vocab_size=S + T, num_layers=LAYERS, num_heads=HEADS, width=settings.width)
    found = {}
    for name, cross in (("with", True), ("without", False)):
        model = transformer.build(dict(shape, cross_attention=cross))
        blocks = jax.jit(jax.vmap(lambda key, model=model: by_token(model, key, T, S)))(random_keys(settings))
        of_source_RTS, of_target_RTT = (np.asarray(x, float) for x in blocks)
        largest_R = np.maximum(of_source_RTS.max((1, 2)), of_target_RTT.max((1, 2)))
        found[name] = of_source_RTS / largest_R[:, None, None]
    return {"bits": one_function(settings.seeds, settings.width), "source_blocks_RTS": found}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge claim 1, one function, and claim 3, nothing from the source without cross-attention."""
    return [judge_function(numbers), judge_source(numbers)]


def judge_function(numbers: Numbers, place: int = 1) -> Claim:
    """Judge the claim that both kinds of attention are one function; `place` is its number within the study."""
    bits = {name: {key: np.asarray(x, float) for key, x in row.items()} for name, row in numbers["bits"].items()}
    plain = bits["none"]
    own = [name for name in bits if is_outside(name)]
    control = Text("control, another X', smallest difference", "对照（另一个 X'），最小差异")
    cases: list[Case] = [
        exact(
            Text(f"same bits, positions {name}", f"逐位相同，位置编码 {name}"),
            bits[name]["differ_R"],
            bits[name]["other_R"],
            what=Text("share of the entries with other bits", "有位不同的元素所占比例"),
            control=control,
        )
        for name in own
    ]
    cases += [
        exact(
            Text(f"the equation in float64, {text}", f"与 float64 的公式比较，{zh}"),
            plain[reading],
            plain["other_R"],
            control=control,
        )
        for reading, text, zh in (
            ("written_out_R", "X' = X", "X' = X"),
            ("written_out_other_R", "another X'", "另一个 X'"),
        )
    ]
    return Claim(
        place,
        Text(
            "Self-attention is cross-attention of a sequence with itself: one function",
            "自注意力就是序列与自身的交叉注意力：二者是同一个函数",
        ),
        Text(
            "holds exactly: layers of both kinds with one set of parameters give Attn(X, X) with the same bits in all "
            f"draws, both agree with the equation within {TOLERANCE:g}, and another X' changes the output by more than "
            f"{CONTROL * TOLERANCE:g}",
            "精确成立：在所有抽样中，参数相同的两种层给出的 Attn(X, X) 逐位相同，"
            f"二者与公式的差异小于 {TOLERANCE:g}，且换成另一个 X' 时输出的变化大于 {CONTROL * TOLERANCE:g}",
        ),
        tuple(cases),
        explained(cases, [HOLDS_EXACTLY] * len(cases), function_instead(bits)),
    )


def is_outside(name: str) -> bool:
    """Return whether positions are added to the embeddings, or absent, so that no layer has its own."""
    return POSITIONS[name].rotates is None and POSITIONS[name].bias is None


def function_instead(bits: Mapping[str, Mapping[str, np.ndarray]]) -> Text:
    """Write what the library does with positions that are a layer's own."""
    others = {name: float(np.min(row["differ_R"])) for name, row in bits.items() if not is_outside(name)}
    apart = [name for name, share in others.items() if share > 0.0]
    head = Text("The function is one.", "二者是同一个函数。")
    if not apart:
        return head
    rest = Text(
        " In this library only layers of self-attention apply positions of their own ({names}), so there the outputs "
        "differ (in at least {least} of the entries). That is a choice of the library, and no property of attention.",
        "在本库中，只有自注意力层使用层内的位置编码（{names}），此时二者的输出不同（至少 {least} 的元素）。"
        "这是本库的选择，不是注意力的性质。",
    ).format(names=listed(map(same, apart)), least=f"{min(others[name] for name in apart):.0%}")
    return Text(*map("".join, zip(head, rest, strict=True)))


def judge_source(numbers: Numbers, place: int = 3) -> Claim:
    """Judge the claim that cross-attention is the only way to the source; `place` is its number within the study."""
    blocks = {name: np.asarray(x, float) for name, x in numbers["source_blocks_RTS"].items()}
    case = exact(
        NOTHING,
        blocks["without"],
        blocks["with"],
        what=Text("largest derivative by a source token / largest of all", "对源词元的最大导数 / 所有导数中的最大值"),
        control=Text("control, with cross-attention, smallest", "对照（有交叉注意力），最小"),
    )
    return Claim(
        place,
        Text(
            "Without cross-attention the decoder gets nothing from the source",
            "没有交叉注意力，解码器从源序列得不到任何信息",
        ),
        Text(
            f"holds exactly: every derivative of a decoder state by a source token is below {TOLERANCE:g} of the "
            f"largest derivative, and with cross-attention every one is above {CONTROL * TOLERANCE:g} of it",
            f"精确成立：解码器状态对源词元的每个导数都小于最大导数的 {TOLERANCE:g} 倍，"
            f"而有交叉注意力时每个都大于其 {CONTROL * TOLERANCE:g} 倍",
        ),
        (case,),
        explained(
            (case,),
            (HOLDS_EXACTLY,),
            Text(
                "In this architecture it is the only way from the encoder to the decoder. With it, each output depends "
                "on each source token: the smallest derivative is {x} of the largest.",
                "在这种架构中，它是编码器到解码器的唯一通路。"
                "有了它，每个输出都依赖每个源词元：最小的导数是最大导数的 {x} 倍。",
            ).format(x=number(float(blocks["with"].min()), 2)),
        ),
    )


def draw_panels(panels_of: Sequence[Axes], numbers: Numbers) -> None:
    """Draw the derivatives by the source's tokens of the first draw, with and without cross-attention."""
    blocks = {name: np.asarray(x, float)[0] for name, x in numbers["source_blocks_RTS"].items()}
    top = max(float(blocks_TS.max()) for blocks_TS in blocks.values())
    for axes, (name, blocks_TS) in zip(panels_of, blocks.items(), strict=True):
        title = f"{name} cross-attention"
        image = matrix(axes, blocks_TS, title, rows="decoder state t", columns="source token s", top=top)
        axes.figure.colorbar(image, ax=axes, shrink=0.8).set_label("|dh_t / dx_s| / largest", fontsize=8)
