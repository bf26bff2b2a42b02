"""Claims of the computed part of the study of scaling, judged by its numbers."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from experiments.comparing import decision
from experiments.comparing.decision import FAILS, HOLDS, HOLDS_EXACTLY, PREVIEW, REVERSED, UNDECIDED
from experiments.studies.frame.claim import CONTROL, Case, Claim, Numbers, exact
from experiments.studies.frame.text import NOTHING, Text, number
from experiments.studies.parts.identities import explained, listed

SCORES = PLAIN, SCALED = ("dot", "scaled_dot")
DERIVATIVES = {"scores": "|dw/dscores|", "query": "|dw/dq|"}
STATISTICS = {"median": Text("median query", "查询的中位数"), "mean": Text("mean of the queries", "查询的平均值")}
SMALL = 0.5
"""Share of the derivative with the scale below which that without it counts as very small."""
SAMPLING = 0.05
"""Relative sampling error of a variance."""


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge claim 1, the variance, and claim 2, saturation and small derivatives."""
    return [judge_variance(numbers), judge_saturation(numbers)]


def judge_variance(numbers: Numbers, place: int = 1) -> Claim:
    """Judge the claim on the variance of the scores; `place` is its number within the study."""
    H = np.array(numbers["width"], float)[:, None]
    plain, scaled = (np.asarray(numbers[score]["variance_HR"], float) for score in SCORES)
    control = Text("control, q·k against 1, smallest", "对照（q·k 与 1 比较），最小")
    what = Text("largest relative difference of all H and draws", "所有 H 和抽样中的最大相对差异")
    controls = np.abs(plain - 1.0)
    cases = (
        exact(
            Text("q·k against H", "q·k 与 H 比较"),
            np.abs(plain / H - 1.0),
            controls,
            what=what,
            control=control,
            tolerance=SAMPLING,
        ),
        exact(
            Text("q·k / √H against 1", "q·k / √H 与 1 比较"),
            np.abs(scaled - 1.0),
            controls,
            what=what,
            control=control,
            tolerance=SAMPLING,
        ),
    )
    return Claim(
        place,
        Text(
            "The variance of q·k is H for entries of variance 1, and 1/√H brings it to 1",
            "若各元素的方差为 1，则 q·k 的方差为 H，而 1/√H 使它变为 1",
        ),
        Text(
            f"holds exactly: largest relative difference of all H and draws below {SAMPLING:g}, the error of "
            "sampling, and "
            f"that of the control above {CONTROL * SAMPLING:g}",
            f"精确成立：所有 H 和抽样中的最大相对差异小于 {SAMPLING:g}（抽样误差），且对照大于 {CONTROL * SAMPLING:g}",
        ),
        cases,
        explained(
            cases,
            (HOLDS_EXACTLY, HOLDS_EXACTLY),
            Text(
                "The rule is for independent entries: trained queries and keys are not independent.",
                "这条规律针对相互独立的元素：训练后的查询和键并不独立。",
            ),
        ),
    )


def judge_saturation(numbers: Numbers, place: int = 2) -> Claim:
    """Judge the claim on small derivatives; `place` is its number within the study."""
    rows = [word_row(numbers, derivative, statistic) for derivative in DERIVATIVES for statistic in STATISTICS]
    S = numbers["keys"]
    return Claim(
        place,
        Text(
            "Without 1/√H the softmax saturates and its gradient becomes very small",
            "没有 1/√H，softmax 会饱和，其梯度变得很小",
        ),
        Text(
            f"{S} keys; with r the share of the derivative with the scale that is left without it, and its 95 "
            "% interval "
            f"[L, U] over draws: holds if U < {SMALL:g}; reversed if L > 1 (larger without); fails if L > "
            f"{SMALL:g}; else "
            "undecided. A word for each H; neighbours with the same word are one row",
            f"{S} 个键；r 为不缩放时的导数与缩放时之比，[L, U] 为其对各次抽样的 95 % 区间：U < {SMALL:g} 则成立；"
            f"L > 1（不缩放时更大）则相反；L > {SMALL:g} 则不成立；否则未定。每个 H 一个结论；结论相同的相邻 H "
            "合为一行",
        ),
        tuple(case for row in rows for case in grouped(row)),
        saturation_instead(numbers),
    )


@dataclasses.dataclass(frozen=True)
class _Word:
    """The word of one head width."""

    label: Text
    width: float
    word: str
    ratio: float
    half: float


def word_row(numbers: Numbers, derivative: str, statistic: str) -> list[_Word]:
    """Judge each head width by the ratio of a derivative without the scale and with it."""
    comma = zip((", ", "，"), STATISTICS[statistic], strict=True)
    label = Text(*(f"{DERIVATIVES[derivative]}{mark}{text}" for mark, text in comma))
    plain, scaled = (np.asarray(numbers[score][f"{derivative}_{statistic}_HR"], float) for score in SCORES)
    found = []
    for width, ratio_R in zip(numbers["width"], plain / scaled, strict=True):
        if len(ratio_R) < decision.ENOUGH:
            found.append(_Word(label, width, PREVIEW, float(ratio_R.mean()), np.nan))
            continue
        middle, low, high = decision.interval(ratio_R, 1.0 - decision.ERROR)
        word = HOLDS if high < SMALL else REVERSED if low > 1.0 else FAILS if low > SMALL else UNDECIDED
        found.append(_Word(label, width, word, middle, (high - low) / 2))
    return found


def grouped(row: Sequence[_Word]) -> list[Case]:
    """Make one case of neighbouring head widths with the same word."""
    cases = []
    for word, group in itertools.groupby(row, key=lambda one: one.word):
        members = list(group)
        ends = [f"{members[0].width:,}", f"{members[-1].width:,}"]
        one = len(members) == 1
        names = (
            (f", H = {ends[0]}", f"，H = {ends[0]}")
            if one
            else (f", H = {ends[0]} to {ends[1]}", f"，H = {ends[0]} 至 {ends[1]}")
        )
        name = Text(*map("".join, zip(members[0].label, names, strict=True)))
        ratios = ", ".join(f"{number(m.ratio)} ± {number(m.half, 2)}" for m in members)
        measured = Text("without / with: {x}", "不缩放 / 缩放：{x}").format(x=ratios)
        numbers = {f"{m.width}": m.ratio for m in members}
        cases.append(Case(name, word, measured, numbers=numbers))
    return cases


def saturation_instead(numbers: Numbers) -> Text:
    """Write what happens to the entropy and to both derivatives, with the numbers at each end."""
    H = numbers["width"]

    def mean(score: str, name: str, i: int) -> float:
        return float(np.mean(np.asarray(numbers[score][f"{name}_HR"], float)[i]))

    def crossing(derivative: str) -> Text:
        row = word_row(numbers, derivative, "median")
        later = [i for i in range(len(row)) if all(one.word == HOLDS for one in row[i:])]
        if not later:
            return Text("at none of these H", "这些 H 中没有")
        width = f"{row[later[0]].width:,}"
        return Text(f"from H = {width} on", f"从 H = {width} 起")

    entropy = Text(
        "Without the scale the entropy of the softmax goes from {a} nats at H = {low} to {b} at H "
        "= {high}, of "
        "{most} at most (with the scale: {c} and {d}).",
        "不缩放时 softmax 的熵从 H = {low} 时的 {a} 奈特变为 H = {high} 时的 {b}，最大值为 {most}（缩放时为 "
        "{c} 和 {d}）。",
    ).format(
        a=number(mean(PLAIN, "entropy", 0)),
        b=number(mean(PLAIN, "entropy", -1)),
        c=number(mean(SCALED, "entropy", 0)),
        d=number(mean(SCALED, "entropy", -1)),
        low=f"{H[0]:,}",
        high=f"{H[-1]:,}",
        most=number(float(np.log(numbers["keys"]))),
    )
    derivative = Text(
        " What reaches the query is dw/dq, which has a factor √H more without the scale. For the median query "
        "dw/dscores is small {scores}, and dw/dq {query}. The mean of |dw/dq| at H = {high} is {ratio} times that with "
        "the scale.",
        "到达查询的是 dw/dq，不缩放时它多一个因子 √H。就查询的中位数而言，使 dw/dscores 变小的 H：{scores}；"
        "使 dw/dq 变小的 H：{query}。H = {high} 时，|dw/dq| 的平均值是缩放时的 {ratio} 倍。",
    ).format(
        scores=crossing("scores"),
        query=crossing("query"),
        high=f"{H[-1]:,}",
        ratio=number(mean(PLAIN, "query_mean", -1) / mean(SCALED, "query_mean", -1)),
    )
    return listed([entropy, derivative], NOTHING)
