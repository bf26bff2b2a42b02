"""The claims of the study `cost`: the power of n of each part, which part is the larger, and the power of the bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparing.decision import AT_LEAST, EQUAL, HOLDS, KINDS
from experiments.studies.frame.claim import Case, Claim, Numbers
from experiments.studies.frame.text import Text, joined, number, same
from experiments.studies.parts.laws import crossings, detailed, exponents, in_chinese, judged, shown, within

QUADRATIC, LINEAR = "scores and weights", "linear maps"
LAYER = "whole layer"
CLOSE = 0.2
"""Largest difference of an exponent of the cost from 2."""
NEARER = 1.5
"""Exponent of the bytes from which they grow as n² rather than as n; XLA's plans are no smooth function of n."""
SHORT, LONG = 2, 24
"""Ends of the two ranges of lengths, in units of the width: n up to 2 D, and from 24 D on."""

NAMES = {
    QUADRATIC: Text("scores and weights", "分数与权重"),
    LINEAR: Text("linear maps", "线性映射"),
    LAYER: Text("whole layer", "整层"),
    "operations_n": Text("operations", "运算量"),
    "seconds_nR": Text("time on this machine", "本机时间"),
    "plain": same("plain"),
    "blocks": same("blocks"),
    "chunks": same("chunks"),
    "forward": Text("forward pass", "前向计算"),
    "with the gradient": Text("with the gradient", "含梯度"),
}
EXPONENT = Text("exponent", "指数")


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the power of the cost, on the larger part and on the bytes."""
    costs = {name: costs_of(numbers[name]) for name in ("operations_n", "seconds_nR") if name in numbers}
    return [judge_power(numbers, costs), judge_larger(numbers, costs), judge_bytes(numbers)]


def costs_of(parts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the costs of each part and of the layer, n R."""
    found = {name: np.asarray(x, float).reshape(len(x), -1) for name, x in parts.items()}
    return {**found, LAYER: found[QUADRATIC] + found[LINEAR]}


def judge_power(numbers: Numbers, costs: Mapping[str, Mapping[str, np.ndarray]]) -> Claim:
    """Judge the claim that attention costs n²."""
    n, D = np.asarray(numbers["lengths"], float), numbers["width"]
    long = Text("n from {end} on", "n 不小于 {end}").format(end=LONG * D), within(n, LONG * D, np.inf)
    short = Text("n up to {end}", "n 不超过 {end}").format(end=SHORT * D), within(n, 0, SHORT * D)
    cases = tuple(
        judged(
            detailed(NAMES[part], NAMES[cost], where),
            exponents(n[chosen], values[part][chosen]),
            kind=EQUAL,
            margin=CLOSE,
            target=2.0,
            what=EXPONENT,
        )
        for cost, values in costs.items()
        for part, (where, chosen) in ((QUADRATIC, long), (LINEAR, long), (LAYER, short), (LAYER, long))
    )
    rule = KINDS[EQUAL].words.format(margin=f"{CLOSE:g}")
    quadratic, maps, few, many = (number(case.numbers["middle"], 2) for case in cases[:4])
    return Claim(
        1,
        Text("Attention costs O(n²)", "注意力的开销是 O(n²)"),
        Text(
            f"exponent of the power of n, less 2; of operations it is exact, of times L to U is its interval over "
            f"rounds of timing; {rule}; plain form, D = {D}, one head, feed-forward of 4 D in the linear maps",
            f"n 的幂的指数减去 2；运算量的指数是精确值，时间的指数以各轮计时的区间 L 至 U 判断；{in_chinese(rule)}；"
            f"plain 形式，D = {D}，一个头，线性映射包括宽 4 D 的前馈网络",
        ),
        cases,
        Text(
            "Scores and weights cost n to the power {quadratic}, the linear maps {maps} (operations). A layer is their "
            "sum: power {few} up to n = {two} and {many} from n = {end} on.",
            "分数与权重的开销是 n 的 {quadratic} 次幂，线性映射是 {maps} 次幂（运算量）。一层是二者之和：n 不超过 "
            "{two} 时为 "
            "{few} 次幂，n 不小于 {end} 时为 {many} 次幂。",
        ).format(quadratic=quadratic, maps=maps, few=few, many=many, two=SHORT * D, end=LONG * D),
    )


def judge_larger(numbers: Numbers, costs: Mapping[str, Mapping[str, np.ndarray]]) -> Claim:
    """Judge the claim that scores and weights are the larger part of the cost."""
    lengths, D = numbers["lengths"], numbers["width"]
    places = dict.fromkeys(int(np.argmin(abs(np.log(np.asarray(lengths) / (times * D))))) for times in (1, 4, 16))
    cases = tuple(
        judged(
            detailed(NAMES[cost], same(f"n = {lengths[i]} = {lengths[i] / D:g} D")),
            np.log2(values[QUADRATIC][i] / values[LINEAR][i]),
            kind=AT_LEAST,
            margin=0.0,
            what=Text("log2 of the ratio", "比值的 log2"),
        )
        for cost, values in costs.items()
        for i in places
    )
    found = {cost: crossings(lengths, values[QUADRATIC], values[LINEAR]) / D for cost, values in costs.items()}
    rows = joined(
        Text(*(f"{label} {x}" for label, x in zip(NAMES[cost], _place(values), strict=True)))
        for cost, values in found.items()
    )
    return Claim(
        2,
        Text(
            "Scores and weights, the quadratic part, cost more than the linear maps of a layer",
            "一层中，分数与权重这一平方项的开销大于线性映射",
        ),
        Text(
            "log2 of (cost of scores and weights / cost of the linear maps) at a length: holds if it, or its interval "
            "over rounds of timing, is at least 0; fails if it is below 0",
            "某一长度上（分数与权重的开销 / 线性映射的开销）的 log2：其值或各轮计时的区间不低于 0 则成立，低于 0 "
            "则不成立",
        ),
        cases,
        Text(
            "Both cost the same at n / D = {rows}; below, the linear maps cost more. (A count gives 6 with a "
            "feed-forward of 4 D, and 12 where only the half of the scores below the diagonal is computed.)",
            "二者相等处的 n / D：{rows}；更短时，线性映射的开销更大。（按运算量计数，前馈网络宽 4 D 时为 6；"
            "若只计算对角线以下的一半分数，则为 12。）",
        ).format(rows=rows),
    )


def _place(values: np.ndarray) -> Text:
    """Format the place of a crossing, which may lie outside of the lengths."""
    if (values == 0.0).any() or np.isinf(values).any():
        return Text("outside of the lengths that were tried", "在所试的长度之外")
    return shown(values)


def judge_bytes(numbers: Numbers) -> Claim:
    """Judge the claim that attention needs memory n²."""
    n, D = np.asarray(numbers["lengths"], float), numbers["width"]
    chosen = within(n, LONG * D, np.inf)
    bytes_of = {
        detailed(NAMES[form], NAMES[name]): np.asarray(values, float)
        for form, passes in numbers["bytes_n"].items()
        for name, values in passes.items()
    }
    cases = tuple(
        judged(name, exponents(n[chosen], x[chosen]), kind=AT_LEAST, margin=NEARER, what=EXPONENT)
        for name, x in bytes_of.items()
    )
    return Claim(
        3,
        Text("Attention needs memory O(n²)", "注意力需要 O(n²) 的内存"),
        Text(
            f"exponent of the peak bytes of scores and weights, n from {LONG * D} on, in XLA's plan for this processor "
            f"(exact): holds if it is at least {NEARER:g}, nearer to n² than to n; fails if it is below",
            f"分数与权重的峰值字节数的指数，n 不小于 {LONG * D}，取 XLA 为本处理器的内存规划（精确）："
            f"不低于 {NEARER:g}（更接近 n² 而非 n）则成立，低于则不成立",
        ),
        cases,
        bytes_text(cases, {name: x[-1] / 2**20 for name, x in bytes_of.items()}, numbers["lengths"][-1]),
    )


def bytes_text(cases: Sequence[Case], mebibytes: Mapping[Text, float], longest: int) -> Text:
    """Return which forms need n² bytes, and what each takes at the largest length."""
    needs = joined(Text(f"“{x.name.en}”", f"“{x.name.zh}”") for x in cases if x.word == HOLDS)
    first = Text("It is needed by {needs}.", "需要的是{needs}。").format(needs=needs)
    if not needs:
        first = Text("No form needs it here.", "此处没有一种形式需要。")
    sizes = joined(Text(*(f"{label} {number(x)} MiB" for label in name)) for name, x in mebibytes.items())
    return Text(
        f"{first.en} At n = {longest:,}: {sizes.en}. The plain form holds all scores, sometimes several copies; blocks "
        "holds those of a sixteenth of the queries at a time, and keeps the weights for the gradient: less by a "
        "factor; chunks computes the weights again and keeps none.",
        f"{first.zh}n = {longest:,} 时：{sizes.zh}。plain 保存所有分数，有时不止一份；"
        "blocks 每次只保存十六分之一查询的分数，并为梯度保留权重，因此只少一个常数倍；"
        "chunks 重新计算权重，一个也不保留。",
    )
