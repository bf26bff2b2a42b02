"""Rank: the rows of attention become alike with depth; residual connections keep them apart.

    X' = f(norm(X)), or X + f(norm(X)) with residual connections,     f attention, then a feed-forward if there is one
    distance from rank 1 = |X - 1 x̄^T| / |X|,   x̄ the mean of the rows                    (Frobenius norms)

Dong et al. 2021, https://arxiv.org/abs/2103.03404: without residual connections and feed-forward the distance falls
doubly exponentially, as c^(3^depth), since a score that differs between queries is a product of two differences, and
the weights multiply a third. Here at the start, without training: normal rows and projections of variance 1 / fan-in,
pre-norm, N heads, no positions, float64, in which distances below 1e-15 are rounding.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.comparing.decision import AT_LEAST, BETTER, HOLDS
from experiments.studies.frame.claim import MOST, Case, Claim, DrawnSettings, Numbers, Study, some_seeds
from experiments.studies.frame.pictures import curve, finish, panels
from experiments.studies.frame.text import Text, joined, number
from experiments.studies.parts.laws import judged, shown
from transformer.schema import at_least, setting

FLOOR = 1e-13
"""Distance below which rounding may be a tenth of it."""
FASTER = 0.1
"""Least growth of the fall, in powers of ten a layer, that counts as faster than linear."""
APART = 100.0
"""Least ratio of the distances, with a part of the block and without, at which the part "keeps the rank"."""
EPSILON = 1e-5


class Block(NamedTuple):
    """The parts of a block beside attention."""

    residual: bool
    feed_forward: bool


ALONE, WITH_FEED_FORWARD, WITH_RESIDUAL, WHOLE = BLOCKS = {
    "attention alone": Block(False, False),
    "+ feed-forward": Block(False, True),
    "+ residual": Block(True, False),
    "+ residual + feed-forward": Block(True, True),
}


@dataclasses.dataclass(frozen=True)
class RankSettings(DrawnSettings):
    """Distance of the rows from rank 1 against depth: python -m experiments.studies rank"""

    seeds: tuple[int, ...] = setting(tuple(range(8)), "seeds of the random draws", check=some_seeds)
    depth: int = setting(24, "number of blocks", check=at_least(2, MOST))
    compared: int = setting(12, "depth at which blocks are compared", check=at_least(1, MOST))
    length: int = setting(32, "rows X (T)", check=at_least(2, MOST))
    width: int = setting(64, "width D, a multiple of the heads", check=at_least(2, MOST))
    heads: int = setting(4, "number of heads N", check=at_least(1, MOST))


def measure(settings: RankSettings) -> Numbers:
    """Compute distance_LR of each block: from rank 1, at depth 0 to L."""
    found = {
        name: np.stack([distances(np.random.default_rng(seed), block, settings) for seed in settings.seeds], axis=1)
        for name, block in BLOCKS.items()
    }
    return {"distance_LR": found, "compared": min(settings.compared, settings.depth)}


def distances(draw: np.random.Generator, block: Block, settings: RankSettings) -> np.ndarray:
    """Compute the distance from rank 1 at each depth, for one draw of rows and parameters."""
    T, D = settings.length, settings.width
    x_TD = draw.standard_normal((T, D))
    found = [distance(x_TD)]
    for _ in range(settings.depth):
        w_4DD = draw.standard_normal((4, D, D)) * D**-0.5
        up_DF, down_FD = draw.standard_normal((D, 4 * D)) * D**-0.5, draw.standard_normal((4 * D, D)) * (4 * D) ** -0.5
        x_TD = block.residual * x_TD + attention(layer_norm(x_TD), w_4DD, settings.heads)
        if block.feed_forward:
            x_TD = block.residual * x_TD + np.maximum(layer_norm(x_TD) @ up_DF, 0.0) @ down_FD
        found.append(distance(x_TD))
    return np.array(found)


def attention(x_TD: np.ndarray, w_4DD: np.ndarray, heads: int) -> np.ndarray:
    """Compute self-attention with the matrices of queries, keys, values and output, in the type of x."""
    T, D = x_TD.shape
    query_NTH, key_NTH, value_NTH = (np.moveaxis((x_TD @ w).reshape(T, heads, -1), 1, 0) for w in w_4DD[:3])
    scores_NTT = query_NTH @ np.swapaxes(key_NTH, 1, 2) * (D // heads) ** -0.5
    weights_NTT = np.exp(scores_NTT - scores_NTT.max(axis=-1, keepdims=True))
    weights_NTT /= weights_NTT.sum(axis=-1, keepdims=True)
    return np.moveaxis(weights_NTT @ value_NTH, 0, 1).reshape(T, D) @ w_4DD[3]


def layer_norm(x_TD: np.ndarray) -> np.ndarray:
    """Normalise each row to mean 0 and variance 1."""
    centred = x_TD - x_TD.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)


def distance(x_TD: np.ndarray) -> float:
    """Compute |X - 1 x̄^T| / |X|: 0 where all rows are equal, near 1 for rows drawn at random."""
    return float(np.linalg.norm(x_TD - x_TD.mean(axis=0)) / np.linalg.norm(x_TD))


def growth_of_fall(distance_L: np.ndarray) -> float:
    """Compute the mean growth of the fall of log10 of the distance, from layer to layer, above FLOOR; 0 where linear.

    NaN where the distance is below it before the second layer.
    """
    above = np.flatnonzero(np.asarray(distance_L) < FLOOR)
    end = int(above[0]) if len(above) else len(distance_L)
    falls = -np.diff(np.log10(np.asarray(distance_L)[:end]))
    return float(np.diff(falls).mean()) if len(falls) > 1 else float("nan")


NAMES = {
    ALONE: Text("attention alone", "只有注意力"),
    WITH_FEED_FORWARD: Text("feed-forward without residual connections", "有前馈网络而无残差连接"),
    WITH_RESIDUAL: Text("residual connections without feed-forward", "有残差连接而无前馈网络"),
    WHOLE: Text("residual connections and feed-forward", "有残差连接与前馈网络"),
}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the fall of the distance and on what stops it."""
    found = {name: np.asarray(x, float) for name, x in numbers["distance_LR"].items()}
    return [judge_fall(found), judge_parts(found, numbers["compared"])]


def judge_fall(found: Mapping[str, np.ndarray]) -> Claim:
    """Judge the claim that the distance falls faster than exponentially."""
    growth = {name: np.array([growth_of_fall(x) for x in x_LR.T]) for name, x_LR in found.items()}
    what = Text("growth of the fall", "下降量的增长")
    cases = tuple(judged(NAMES[name], growth[name], kind=BETTER, margin=FASTER, what=what) for name in BLOCKS)
    alone_LR = found[ALONE]
    reached = [int(np.argmax(x < FLOOR)) if (x < FLOOR).any() else len(x) for x in alone_LR.T]
    first = [number(float(np.exp(np.log(alone_LR[depth]).mean())), 2) for depth in range(1, min(6, len(alone_LR)))]
    return Claim(
        1,
        Text(
            "Attention loses rank with depth faster than exponentially: all rows become equal",
            "注意力的秩随深度以快于指数的速度退化：所有行趋于相同",
        ),
        Text(
            f"how much more log10 of the distance from rank 1 falls in a layer than in the layer before, mean over the "
            f"layers with a distance above {FLOOR:g}: no difference if the interval over draws is inside ±{FASTER:g}, "
            f"else holds if it is above 0 (a fall that is linear in the log has 0)",
            f"与秩 1 的距离的 log10，每层的下降量比前一层多多少，取距离大于 {FLOOR:g} 的各层的平均：抽样区间在 "
            f"±{FASTER:g} 之内为无差异，否则高于 0 则成立（对数线性下降时为 0）",
        ),
        cases,
        Text(
            "Attention alone, distance after 1, 2, ... layers (geometric mean): {first}. It is above {floor} up to "
            "layer {last} in every draw.",
            "只有注意力时，经过 1、2……层后的距离（几何平均）：{first}。所有抽样中，直到第 {last} 层距离都大于 "
            "{floor}。",
        ).format(first=", ".join(first), floor=f"{FLOOR:g}", last=min(reached) - 1),
    )


def judge_parts(found: Mapping[str, np.ndarray], depth: int) -> Claim:
    """Judge the claim that residual connections and the feed-forward keep the rank."""
    at = {name: np.asarray(x_LR)[depth] for name, x_LR in found.items()}
    what = Text("log10 of the ratio", "比值的 log10")
    parts = (WITH_RESIDUAL, WITH_FEED_FORWARD, WHOLE)
    log10 = {name: np.log10(np.maximum(x, FLOOR)) for name, x in at.items()}
    cases = tuple(
        judged(NAMES[name], log10[name] - log10[ALONE], kind=AT_LEAST, margin=np.log10(APART), what=what)
        for name in parts
    )
    return Claim(
        2,
        Text("Residual connections and the feed-forward keep the rank", "残差连接与前馈网络使秩得以保持"),
        Text(
            f"the distance from rank 1 at depth {depth}, divided by that of attention alone: holds if the interval "
            f"over draws of its log10 is at least {np.log10(APART):g} (a ratio of {APART:g}), fails if it is below; "
            f"a distance below {FLOOR:g} counts as {FLOOR:g}",
            f"深度 {depth} 处与秩 1 的距离除以只有注意力时的距离：其 log10 的抽样区间不低于 {np.log10(APART):g}（比值 "
            f"{APART:g}）则成立，低于则不成立；小于 {FLOOR:g} 的距离按 {FLOOR:g} 计",
        ),
        cases,
        kept_by(cases, at, depth),
    )


def kept_by(cases: Sequence[Case], at: Mapping[str, np.ndarray], depth: int) -> Text:
    """Return which parts keep the rank, with the distances at that depth."""
    residual, feed_forward, _ = (case.word == HOLDS for case in cases)
    sentence = {
        (True, False): Text(
            "It is the residual connections that keep the rank; a feed-forward alone does not.",
            "使秩得以保持的是残差连接；单有前馈网络不能。",
        ),
        (True, True): Text("Either one keeps the rank.", "二者各自都能保持秩。"),
        (False, True): Text(
            "It is the feed-forward that keeps the rank; residual connections alone do not.",
            "使秩得以保持的是前馈网络；单有残差连接不能。",
        ),
        (False, False): Text("Neither alone is shown to keep the rank.", "未能表明单独一个就能保持秩。"),
    }[residual, feed_forward]
    rows = joined(Text(*(f"{label} {x}" for label, x in zip(NAMES[n], shown(v), strict=True))) for n, v in at.items())
    return Text(
        f"{sentence.en} Distances at depth {depth}, at the start of training: {rows.en}.",
        f"{sentence.zh}训练开始时，深度 {depth} 处的距离：{rows.zh}。",
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the distance against depth, on a logarithmic and on a linear axis."""
    figure, grid = panels(2, width=4.4, height=3.1)
    depths = range(len(next(iter(numbers["distance_LR"].values()))))
    for axes in grid[0]:
        for i, (name, x_LR) in enumerate(numbers["distance_LR"].items()):
            curve(axes, depths, np.maximum(np.asarray(x_LR, float), 1e-17), name, i)
    grid[0, 0].set_yscale("log")
    grid[0, 0].axhspan(1e-17, FLOOR, color="black", alpha=0.08, linewidth=0)
    grid[0, 0].text(depths[-1], FLOOR / 3, "rounding", fontsize=8, ha="right", va="top")
    grid[0, 0].set_ylim(1e-17, 3.0)
    grid[0, 1].set_ylim(0.0, 1.05)
    label = "distance from rank 1"
    finish(grid[0, 0], "shades: least to most of the draws", "depth (blocks)", label)
    finish(grid[0, 1], "the same, linear", "depth (blocks)", label, legend=True)
    return figure


RANK = Study(
    title=Text(
        "Distance of the rows from rank 1 against depth, without training", "未训练时，各行与秩 1 的距离随深度的变化"
    ),
    settings=RankSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
