"""The claims of the study `cache`: equality, earlier rows, and the cost of a token against the length."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.comparing.decision import COUNTEREXAMPLE, EQUAL, HOLDS_EXACTLY, KINDS
from experiments.studies.frame.claim import CONTROL, TOLERANCE, Case, Claim, Numbers, exact
from experiments.studies.frame.text import Text, number, same
from experiments.studies.parts.identities import explained
from experiments.studies.parts.laws import detailed, exponents, in_chinese, judged, within

CLOSE = 0.15
"""Largest difference of an exponent from 0 (constant) or 1 (linear)."""
SHORT, LONG = 2, 24
"""Ends of the two ranges of lengths, in units of the width: n up to 2 D, and from 24 D on."""
WITH, WITHOUT = "with a cache", "without"

NAMES = {
    "position none": Text("no positions", "无位置编码"),
    "position sinusoidal": Text("sinusoidal positions", "正弦位置编码"),
    "position learned": Text("learned positions", "可学习位置编码"),
    "position rotary": Text("rotary positions", "旋转位置编码"),
    "position alibi": Text("ALiBi", "ALiBi"),
    "position relative": Text("relative positions (T5)", "相对位置编码（T5）"),
    "grouped queries, 2 of 4 heads": Text("grouped queries with 2 key heads of 4", "4 个头共用 2 个键头的分组查询"),
    "window of 5 tokens": Text("sliding window of 5 tokens", "5 个词元的滑动窗口"),
    "window of 5 in one layer": Text("sliding window in one of two layers", "两层中一层有滑动窗口"),
    "linear attention": Text("linear attention (a state of constant size)", "线性注意力（大小不变的状态）"),
    "all heads": Text("all heads", "所有头"),
    "one key/value head of 4": Text("one key/value head of 4", "4 个头共用一个键值头"),
    "window": Text("sliding window of 64 tokens", "64 个词元的滑动窗口"),
}
"""Name of a case -> the same in each language; one without a row is its own name."""

EXACT = Text(
    f"holds exactly: largest difference of all draws and steps, relative to the largest entry, below {TOLERANCE:g}, "
    f"and control above {CONTROL * TOLERANCE:g}; counterexample: smallest difference above {CONTROL * TOLERANCE:g}",
    f"精确成立：所有抽样与步骤的最大差异（相对于最大元素）小于 {TOLERANCE:g}，且对照大于 {CONTROL * TOLERANCE:g}；"
    f"反例：最小差异大于 {CONTROL * TOLERANCE:g}",
)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on equality, on earlier rows, on the time of a token and on the bytes of the cache."""
    return [
        judge_equality(numbers),
        judge_rows(numbers),
        judge_growth(numbers, 3, WITH),
        judge_growth(numbers, 4, WITHOUT),
        judge_bytes(numbers),
    ]


def judge_equality(numbers: Numbers) -> Claim:
    """Judge the claim that steps with a cache and a full pass are the same."""
    stale = Text("control, one token not written, smallest difference", "对照（缺少一个词元），最小差异")
    rows = numbers["differences"]
    cases = tuple(
        exact(NAMES.get(name, same(name)), row["error"], row["stale"], control=stale) for name, row in rows.items()
    )
    largest = max(float(np.max(row["error"])) for row in rows.values())
    return Claim(
        1,
        Text(
            "Prediction token by token with a cache of keys and values gives the same logits as a full pass",
            "使用键值缓存逐词元预测，与一次完整的前向计算给出相同的 logits",
        ),
        EXACT,
        cases,
        explained(
            cases,
            [HOLDS_EXACTLY] * len(cases),
            Text(
                "It is the same computation, for every position encoding; the largest difference, {largest} of the "
                "largest logit, is rounding in float32. A cache that lacks one token is no small error.",
                "二者是同一个计算，对每种位置编码都如此；最大差异为最大 logit 的 {largest}，是 float32 的舍入误差。"
                "而缓存中缺少一个词元就不是小误差了。",
            ).format(largest=number(largest)),
        ),
    )


def judge_rows(numbers: Numbers) -> Claim:
    """Judge the claim that a new token leaves earlier keys as they are."""
    causal_R, open_R = (np.asarray(numbers["rows"][name], float) for name in ("causal", "no mask"))
    control = Text("control, no mask, smallest difference", "对照（无掩码），最小差异")
    cases = (
        exact(Text("causal mask", "因果掩码"), causal_R, open_R, control=control),
        exact(Text("no mask", "无掩码"), open_R),
    )
    return Claim(
        2,
        Text(
            "A new token leaves the keys and values of earlier tokens as they are",
            "新加入的词元不改变先前词元的键与值",
        ),
        EXACT,
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, COUNTEREXAMPLE),
            Text(
                "This is what makes a cache possible, and it needs the causal mask: without one, from the second layer "
                "on, the keys of all tokens change with each new token. (Keys of the second of two layers.)",
                "这正是缓存可行的原因，而它需要因果掩码：没有掩码时，从第二层起，所有词元的键都会随每个新词元改变。"
                "（两层中第二层的键。）",
            ),
        ),
    )


def judge_growth(numbers: Numbers, place: int, name: str) -> Claim:
    """Judge how the cost of a token grows with the tokens before it: constant with a cache, linear without."""
    n, D = np.asarray(numbers["lengths"], float), numbers["width"]
    target = 0.0 if name == WITH else 1.0
    ranges = {
        Text("n up to {end}", "n 不超过 {end}").format(end=SHORT * D): within(n, 0, SHORT * D),
        Text("n from {end} on", "n 不小于 {end}").format(end=LONG * D): within(n, LONG * D, np.inf),
    }
    rows: dict[Text, Any] = {Text("operations", "运算量"): numbers["operations_n"][name]}
    if "seconds_nR" in numbers:
        rows[Text("time on this machine", "本机时间")] = numbers["seconds_nR"][name]
    cases = tuple(
        judged(
            detailed(what, where),
            exponents(n[chosen], np.asarray(values, float).reshape(len(n), -1)[chosen]),
            kind=EQUAL,
            margin=CLOSE,
            target=target,
            what=Text("exponent", "指数"),
        )
        for what, values in rows.items()
        for where, chosen in ranges.items()
    )
    rule = KINDS[EQUAL].words.format(margin=f"{CLOSE:g}")
    said = {
        WITH: Text("With a cache the time of a token does not depend on n", "使用缓存时，每个词元的时间与 n 无关"),
        WITHOUT: Text(
            "Without a cache the time of a token grows linearly with n", "不使用缓存时，每个词元的时间随 n 线性增长"
        ),
    }[name]
    return Claim(
        place,
        said,
        Text(
            f"exponent of the power of n, less {target:g}; of operations it is exact, of times L to U is its interval "
            f"over rounds of timing; {rule}",
            f"n 的幂的指数减去 {target:g}；运算量的指数是精确值，时间的指数以各轮计时的区间 L 至 U 判断；"
            f"{in_chinese(rule)}",
        ),
        cases,
        growth_text(numbers, name, cases),
    )


def growth_text(numbers: Numbers, name: str, cases: Sequence[Case]) -> Text:
    """Return what to say of the cost of a token, with the exponents of the operations and the ratio of the costs."""
    short, long = (number(case.numbers["middle"], 2) for case in cases[:2])
    common = dict(short=short, long=long, two=SHORT * numbers["width"], many=LONG * numbers["width"])
    if name == WITH:
        return Text(
            "Its linear maps cost the same for every token, but its query meets n keys. The exponent of the operations "
            "is {short} up to n = {two} and {long} from n = {many} on: at last, linear in n.",
            "线性映射对每个词元的开销相同，但其查询要与 n 个键相遇。运算量的指数在 n 不超过 {two} 时为 {short}，n "
            "不小于 {many} "
            "时为 {long}：最终随 n 线性增长。",
        ).format(**common)
    ratios = np.asarray(numbers["operations_n"][WITHOUT], float) / np.asarray(numbers["operations_n"][WITH], float)
    return Text(
        "Every token takes a full pass: linear in n while the linear maps cost more (exponent {short} up to n = "
        "{two}), "
        "and on the way to n² from then on ({long} from n = {many} on). At n = {n} it takes {ratio} times the "
        "operations that a cache leaves.",
        "每个词元都需要一次完整的前向计算：当线性映射的开销更大时随 n 线性增长（n 不超过 {two} 时指数为 {short}），"
        "此后趋向 n²"
        "（n 不小于 {many} 时为 {long}）。n = {n} 时，运算量是使用缓存时的 {ratio} 倍。",
    ).format(**common, n=f"{numbers['lengths'][-1]:,}", ratio=f"{ratios[-1]:,.0f}")


def judge_bytes(numbers: Numbers) -> Claim:
    """Judge the claim that a cache grows linearly with the tokens."""
    n = np.asarray(numbers["lengths"], float)
    found = {name: np.asarray(x, float) for name, x in numbers["bytes_n"].items()}
    # A cache in proportion to n has the same bytes a token at every length.
    changes = {name: abs(x[1:] / n[1:] / (x[0] / n[0]) - 1.0) for name, x in found.items()}
    control = Text("control, constant size, difference", "对照（大小不变），差异")
    cases = tuple(
        exact(NAMES.get(name, same(name)), change[-1:], changes["linear attention"][-1:], control=control)
        for name, change in changes.items()
    )
    a_token = {name: x[-1] / n[-1] for name, x in found.items()}
    return Claim(
        5,
        Text("The cache grows in proportion to the number of tokens", "缓存的大小与词元数成正比"),
        Text(
            f"holds exactly: bytes per token at the largest n and at the smallest differ by less than {TOLERANCE:g} "
            f"(relative); counterexample: by more than {CONTROL * TOLERANCE:g}",
            f"精确成立：最大与最小的 n 处，每词元字节数的相对差异小于 {TOLERANCE:g}；反例：大于 "
            f"{CONTROL * TOLERANCE:g}",
        ),
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, HOLDS_EXACTLY, COUNTEREXAMPLE, COUNTEREXAMPLE),
            Text(
                "Each token has 2 x layers x key/value heads x head width numbers: {all} bytes here, {one} with one "
                "key/value head. A sliding window keeps at most its own length, {window} bytes in all; linear "
                "attention "
                "keeps a state of {state} bytes.",
                "每个词元有 2 × 层数 × 键值头数 × 头宽 个数：此处为 {all} 字节，只有一个键值头时为 {one} 字节。"
                "滑动窗口最多保留"
                "窗口长度，共 {window} 字节；线性注意力保留 {state} 字节的状态。",
            ).format(
                all=f"{a_token['all heads']:,.0f}",
                one=f"{a_token['one key/value head of 4']:,.0f}",
                window=f"{found['window'][-1]:,.0f}",
                state=f"{found['linear attention'][-1]:,.0f}",
            ),
        ),
    )
