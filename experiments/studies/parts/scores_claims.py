"""Claims of the computed part of the study of scores, judged by its numbers."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from experiments.comparing.decision import COUNTEREXAMPLE, FAILS, HOLDS, HOLDS_EXACTLY, UNDECIDED
from experiments.studies.frame.claim import CONTROL, TOLERANCE, Case, Claim, Numbers, exact
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.identities import explained

SCORES = {
    "dot": "dot",
    "scaled dot": "scaled_dot",
    "bilinear": "bilinear",
    "additive": "additive",
    "cosine": "cosine",
    "position only": "position_only",
}
"""Value of the setting model.score, by name in the figure."""
DOT, SCALED, BILINEAR, ADDITIVE, COSINE, POSITION = SCORES
CONTENT = (SCALED, DOT, COSINE)
"""Scores that learn at most a factor, so that they can be compared without training."""
SLOWER = 2.0
"""Ratio of times from which on a score is much slower."""
LEVEL = 0.95


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge claim 1, the inner product and the cosine, and claim 2, the time of the additive score."""
    return [judge_lengths(numbers), judge_time(numbers)]


def judge_lengths(numbers: Numbers, place: int = 1) -> Claim:
    """Judge the claim that the inner product ranks keys as the cosine does; `place` is its number in the study."""
    other_MR = np.asarray(numbers["other_MR"][DOT], float)
    wins_MR = np.asarray(numbers["wins_MR"][DOT], float)
    lengths = numbers["lengths"]
    what = Text(
        "largest share of draws in which another key has the most weight", "另一个键权重最大的抽样所占的最大比例"
    )
    control = Text("control, the longest key, smallest", "对照（最长的键），最小")
    names = [
        Text("all keys have the same length", "所有键的长度相同")
        if length == 1.0
        else Text(f"one unrelated key is {length:g} times as long", f"一个无关的键长 {length:g} 倍")
        for length in lengths
    ]
    cases = tuple(
        exact(name, row, other_MR[-1], what=what, control=control) for name, row in zip(names, other_MR, strict=True)
    )
    cosine = float(np.max(np.abs(np.diff(np.asarray(numbers["wins_MR"][COSINE], float), axis=0))))
    return Claim(
        place,
        Text(
            "The inner product measures how alike two vectors are, as the cosine does",
            "内积与余弦一样，衡量两个向量有多相似",
        ),
        Text(
            "holds exactly: the key with the most weight under q·k is that of the largest cosine in every "
            "draw, and the "
            "control, the longest unrelated key, gives another one; counterexample: it is another one in more than "
            f"{CONTROL * TOLERANCE:g} of the draws of every seed",
            "精确成立：在每次抽样中，q·k 下权重最大的键就是余弦最大的键，且对照（最长的无关键）下不是；"
            f"反例：在每个随机种子的抽样中，超过 {CONTROL * TOLERANCE:g} 的抽样得到另一个键",
        ),
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, *[COUNTEREXAMPLE] * (len(cases) - 1)),
            Text(
                "q·k is the cosine times both lengths. If the unrelated key is not longer than the related "
                "key, the order is "
                "that of the cosine. A key {longest} times as long has the most weight in {share} of the draws "
                "or more; "
                "under the cosine its length changes nothing (change of the share {cosine}).",
                "q·k 等于余弦乘以两个向量的长度。若无关的键不比相关的键长，则次序与余弦相同。长 {longest} "
                "倍的键在至少 {share} "
                "的抽样中权重最大；用余弦时，键的长度没有影响（比例的变化为 {cosine}）。",
            ).format(longest=f"{lengths[-1]:g}", share=f"{wins_MR[-1].min():.0%}", cosine=f"{cosine:g}"),
        ),
    )


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Compute the median and its interval by order statistics, infinite with too few values.

    Conover 1999, "Practical nonparametric statistics", section 3.2: the k-th least value is below the median, but for
    a chance of P(Binomial(n, 1/2) < k).
    """
    ordered = np.sort(np.asarray(values, float))
    k = int(stats.binom.ppf((1.0 - LEVEL) / 2, len(ordered), 0.5))
    k -= int(k > 0 and stats.binom.cdf(k - 1, len(ordered), 0.5) > (1.0 - LEVEL) / 2)
    middle = float(np.median(ordered))
    return (middle, float(ordered[k - 1]), float(ordered[-k])) if k else (middle, -np.inf, np.inf)


def judge_time(numbers: Numbers, place: int = 2) -> Claim:
    """Judge the claim on the time of the additive score; `place` is its number within the study."""
    cases, ratios = [], []
    for T in numbers["timed"]:
        slow, fast = (np.asarray(numbers["ms"][name][f"{T}"], float) for name in (ADDITIVE, SCALED))
        middle, low, high = median_interval(slow / fast)
        word = HOLDS if low > SLOWER else FAILS if high < SLOWER else UNDECIDED
        measured = Text(
            "{middle} times as long, median of {n} rounds [{low}, {high}]; {slow} ms against {fast} ms",
            "耗时之比 {middle}，{n} 轮的中位数 [{low}, {high}]；{slow} 毫秒与 {fast} 毫秒",
        ).format(
            middle=number(middle),
            low=number(low),
            high=number(high),
            n=len(slow),
            slow=number(float(np.median(slow))),
            fast=number(float(np.median(fast))),
        )
        at = Text("this implementation, this machine", "本实现，本机")
        cases.append(Case(Text(f"T = S = {T}", f"T = S = {T}"), word, measured, at=at, numbers={"ratio": middle}))
        ratios.append(middle)
    longest = numbers["timed"][-1]
    return Claim(
        place,
        Text("The additive score is much slower than the dot product", "加性分数比点积慢得多"),
        Text(
            "the ratio of the times of attention and its gradient in one round, and the 95 % interval [L, U] "
            "of its median "
            f"over rounds (no seeds): holds if L > {SLOWER:g}; fails if U < {SLOWER:g}; else undecided",
            "同一轮中注意力及其梯度的耗时之比，[L, U] 为其中位数在各轮上的 95 % 区间（不是随机种子）："
            f"L > {SLOWER:g} 则成立；U < {SLOWER:g} 则不成立；否则未定",
        ),
        tuple(cases),
        Text(
            "It builds an array of T x S x H for each head where the dot product has T x S. At T = S = {T} it "
            "takes {ratio} "
            "times as long here; another implementation or machine has another ratio.",
            "它为每个头建立 T × S × H 的数组，而点积只需 T × S。这里当 T = S = {T} 时，其耗时是点积的 {ratio} 倍；"
            "换一种实现或机器，比值会不同。",
        ).format(T=longest, ratio=number(ratios[-1], 2)),
    )
