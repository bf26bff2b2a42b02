"""Rotary positions: a score depends on the distance of its two positions alone, as far as the precision allows.

    score(p, s) = rotate(q, p) . rotate(k, p - s) / sqrt(H)        Su et al. 2021, https://arxiv.org/abs/2104.09864

Both positions are shifted by the same number of tokens. The control adds sinusoids to q and k in place of rotating
them. A change is relative to the root of the mean square of the scores. Angles are computed in float32, and rotated
queries and keys are rounded to the precision. With "bfloat16 angles" positions and angles are rounded too.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS, HOLDS_EXACTLY, UNDECIDED
from experiments.studies.frame.claim import CONTROL, Case, Claim, DrawnSettings, Numbers, Study, exact, random_keys
from experiments.studies.frame.pictures import curve, finish, panels
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.identities import UNEXPECTED, explained
from transformer.ops.positions import rotary, rotary_rates, sinusoidal
from transformer.schema import at_least, each, setting

TOLERANCE = 1e-3
"""Relative change of a score in float32 at positions of some thousands, whose angles are rounded to 1e-4."""
SMALL = 0.02
"""Relative change of a score in bfloat16 up to which it counts as unchanged; one rounding is 2^-9 = 0.002."""
rising = each(1, 1_000_000, "rising numbers", lambda x: len(x) > 1 and list(x) == sorted(set(x)))


@dataclasses.dataclass(frozen=True)
class RotarySettings(DrawnSettings):
    """Rotary positions under a shift of both positions: python -m experiments.studies rotary --width=128"""

    shifts: tuple[int, ...] = setting(
        (1, 4, 16, 64, 256, 1024, 4096), "shifts of both positions (tokens)", check=rising
    )
    distances: int = setting(64, "distances 0, 1, ... of key and query (tokens)", check=at_least(1, 4096))
    width: int = setting(64, "head width H, an even number", check=at_least(2, 4096))


def whole(x: Array) -> Array:
    """Return float32 as it is."""
    return x


def half(x: Array) -> Array:
    """Round to bfloat16, 8 bits of exponent and 7 of fraction; a cast and its reverse may be compiled away."""
    return jax.lax.reduce_precision(x, 8, 7)


def rotated(x_NH: Array, position: Array) -> Array:
    """Rotate each row at one position, in float32."""
    return rotary(x_NH[None, :, None], jnp.broadcast_to(position, (1, len(x_NH))))[0, :, 0]


def rotated_by_half_angles(x_NH: Array, position: Array) -> Array:
    """Rotate each row at one position, with positions, rates and angles rounded to bfloat16."""
    rates = half(rotary_rates(x_NH.shape[-1] // 2, 10_000.0))
    angle = half(half(position.astype(jnp.float32)) * rates)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_NH, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def added(x_NH: Array, position: Array) -> Array:
    """Add the sinusoidal code of one position to each row."""
    return x_NH + sinusoidal(position[None], x_NH.shape[-1])


CASES: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Array], Array]]] = {
    "rotary, float32": (rotated, whole),
    "rotary, bfloat16": (rotated, half),
    "rotary, bfloat16 angles": (rotated_by_half_angles, half),
    "sinusoids added, float32": (added, whole),
}
"""Function (x_NH, position) -> x_NH and rounding of queries and keys, by case; the last is the control."""
FLOAT, HALF, HALF_ANGLES, ADDED = CASES


def measure(settings: RotarySettings) -> Numbers:
    """Compute change_MR of each case: the largest change of a score under each shift M, over all distances."""
    keys_R, shifts_M = random_keys(settings), jnp.array((0, *settings.shifts))
    last, distance_N = settings.distances - 1, jnp.arange(settings.distances)

    def one(key: Array, code: Callable[[Array, Array], Array], rounded: Callable[[Array], Array]) -> Array:
        q_NH, k_NH = jax.random.normal(key, (2, settings.distances, settings.width), jnp.float32)

        def scores(shift: Array) -> Array:
            query_NH = code(q_NH, shift + last)
            key_NH = jax.vmap(lambda k_H, d: code(k_H[None], shift + last - d)[0])(k_NH, distance_N)
            return jnp.sum(rounded(query_NH) * rounded(key_NH), axis=-1) * settings.width**-0.5

        score_MN = jax.lax.map(scores, shifts_M)
        return jnp.abs(score_MN[1:] - score_MN[0]).max(-1) / jnp.sqrt(jnp.mean(score_MN[0] ** 2))

    found = {
        name: np.asarray(jax.vmap(lambda key, c=code, r=rounded: one(key, c, r))(keys_R), float).T
        for name, (code, rounded) in CASES.items()
    }
    return {"shifts": settings.shifts, "change_MR": found}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claim on distances in float32, and in bfloat16."""
    change = {name: np.asarray(x, float) for name, x in numbers["change_MR"].items()}
    furthest = numbers["shifts"][-1]
    what = Text(f"largest change, shifts up to {furthest:,}", f"平移至多 {furthest:,} 时的最大变化")
    control = Text("control, sinusoids added, smallest", "对照（相加的正弦编码），最小")
    name = Text("float32", "float32")
    case = exact(name, change[FLOAT], change[ADDED], what=what, control=control, tolerance=TOLERANCE)
    return [
        Claim(
            1,
            Text(
                "With rotary positions a score depends on the distance of query and key alone",
                "使用旋转位置编码时，分数只取决于查询与键的距离",
            ),
            Text(
                f"holds exactly: no shift of both positions changes a score by {TOLERANCE:g} or more of their "
                "root mean "
                f"square, and with added sinusoids every shift changes one by more than {CONTROL * TOLERANCE:g}",
                f"精确成立：两个位置同时平移时，没有分数的变化达到其均方根的 {TOLERANCE:g}，"
                f"而使用相加的正弦编码时，每次平移都使某个分数的变化大于 {CONTROL * TOLERANCE:g}",
            ),
            (case,),
            explained(
                (case,),
                (HOLDS_EXACTLY,),
                Text(
                    "This is true of the scores of one layer for given queries and keys. What a model makes of "
                    "a distance "
                    "that it never saw in training is another question.",
                    "这是指查询和键给定时一层的分数。模型如何对待训练中从未见过的距离，是另一个问题。",
                ),
            ),
        ),
        judge_half(change, numbers["shifts"]),
    ]


def judge_half(change: dict[str, np.ndarray], shifts: Sequence[int]) -> Claim:
    """Judge the claim that this holds in bfloat16, by what is rounded."""
    names = {
        HALF: Text(
            "angles in float32, rotated queries and keys in bfloat16", "角度用 float32，旋转后的查询和键用 bfloat16"
        ),
        HALF_ANGLES: Text("positions and angles in bfloat16 too", "位置和角度也用 bfloat16"),
    }
    cases = []
    fails: dict[str, int | None] = {}
    for name, text in names.items():
        largest_M, smallest_M = change[name].max(-1), change[name].min(-1)
        fails[name] = next((s for s, x in zip(shifts, smallest_M, strict=True) if x > SMALL), None)
        word = HOLDS if largest_M.max() < SMALL else COUNTEREXAMPLE if fails[name] else UNDECIDED
        measured = Text("largest change {x}", "最大变化 {x}").format(x=number(float(largest_M.max())))
        if fails[name]:
            at = Text(
                "; above {small} in every draw from a shift of {s} on: {y}",
                "；平移从 {s} 起，每次抽样都大于 {small}：{y}",
            )
            i = list(shifts).index(fails[name])
            extra = at.format(small=f"{SMALL:g}", s=f"{fails[name]:,}", y=number(float(smallest_M[i])))
            measured = Text(*map("".join, zip(measured, extra, strict=True)))
        cases.append(Case(text, word, measured, numbers={"largest": float(largest_M.max()), "fails_at": fails[name]}))
    return Claim(
        2,
        Text("This holds in bfloat16 as well", "在 bfloat16 中也是如此"),
        Text(
            f"holds: no shift changes a score by {SMALL:g} or more of their root mean square (bfloat16 "
            "has 8 bits); "
            f"counterexample: some shift changes one by more, in every draw",
            f"成立：没有平移使分数的变化达到其均方根的 {SMALL:g}（bfloat16 有 8 位）；"
            f"反例：某个平移在每次抽样中都使分数变化更大",
        ),
        tuple(cases),
        half_instead(cases, change),
    )


def half_instead(cases: Sequence[Case], change: dict[str, np.ndarray]) -> Text:
    """Write what roundings do to the distance."""
    if cases[1].word != COUNTEREXAMPLE:
        return UNEXPECTED
    return Text(
        "Not every position above 256 is a number of bfloat16, so angles have to be computed in "
        "float32. Even "
        "then the rotated queries and keys are rounded: changes of up to {x} of a score, at any shift; with angles in "
        "bfloat16 up to {y}.",
        "大于 256 的位置不一定能用 bfloat16 表示，因此角度必须用 float32 计算。即便如此，旋转后的查询和键仍被舍入："
        "任何平移下分数的变化最多为 {x}；角度用 bfloat16 时最多为 {y}。",
    ).format(x=number(float(change[HALF].max()), 2), y=number(float(change[HALF_ANGLES].max()), 2))


def draw(numbers: Numbers) -> Figure:
    """Draw the change of each case against the shift."""
    figure, grid = panels(1, width=6.0, height=3.4)
    axes = grid[0, 0]
    for i, (name, change_MR) in enumerate(numbers["change_MR"].items()):
        curve(axes, numbers["shifts"], np.maximum(np.asarray(change_MR, float), 1e-9), name, i)
    for value, label in ((TOLERANCE, "float32"), (SMALL, "bfloat16")):
        axes.axhline(value, color="black", linestyle=":", linewidth=1.0)
        axes.text(numbers["shifts"][0], value, f"limit of {label}", fontsize=7, va="bottom")
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers["shifts"], [f"{shift:,}" for shift in numbers["shifts"]])
    axes.minorticks_off()
    axes.set_yscale("log")
    finish(
        axes,
        "change of a score (shades: all draws)",
        "shift of both positions (tokens)",
        "largest change / root mean square",
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


ROTARY = Study(
    title=Text(
        "Rotary positions: change of a score when both positions are shifted by the same number of tokens",
        "旋转位置编码：两个位置平移相同距离时分数的变化",
    ),
    settings=RotarySettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
