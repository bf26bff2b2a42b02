"""Claims of the study of sinusoids, judged by its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparing.decision import COUNTEREXAMPLE, FAILS, HOLDS, HOLDS_EXACTLY, UNDECIDED
from experiments.studies.frame.claim import CONTROL, TOLERANCE, Case, Claim, Numbers, exact
from experiments.studies.frame.text import Text, joined, number, same
from experiments.studies.parts.identities import explained, listed, present

ROUNDING = 1e-6
"""Largest rise of a similarity that counts as rounding."""
NEAR = 64
"""Distance up to which the trend is judged (tokens)."""
TREND = -0.9
"""Spearman's correlation of distance and similarity from which on, downwards, the similarity has a falling trend."""
POSITIONS_TOLERANCE = 1e-4
"""Error of the similarity in float32 at 2,048 positions: angles of that size are rounded to 1e-4."""


def first_rise(similarity_T: np.ndarray) -> int | None:
    """Return the first distance at which the similarity is higher than one position nearer; None: there is none."""
    rises = np.flatnonzero(np.diff(np.asarray(similarity_T, float)) > ROUNDING)
    return int(rises[0]) + 1 if len(rises) else None


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the entries of the codes and on their similarity."""
    rows: Mapping[str, Any] = numbers["rows"]
    return [judge_codes(rows, numbers), judge_distance(rows), judge_fall(rows, numbers)]


def judge_codes(rows: Mapping[str, Any], numbers: Numbers) -> Claim:
    """Judge the claim that each position has a bounded code of its own."""
    T = numbers["length"]
    cases = tuple(code_case(width, row, numbers["repeating"]) for width, row in rows.items())
    return Claim(
        1,
        Text(
            "Each position has a code of its own, with entries in [-1, 1]",
            "每个位置的编码各不相同，且元素在 [-1, 1] 内",
        ),
        Text(
            f"holds exactly: any two of {T:,} codes differ by more than {CONTROL * TOLERANCE:g} in some entry, no "
            "entry is beyond 1, and the control, a wave that repeats, has two codes that are equal",
            f"精确成立：{T:,} 个编码两两至少有一个元素相差超过 {CONTROL * TOLERANCE:g}，没有元素超出 1；"
            "对照（会重复的单个波）中有两个编码相等",
        ),
        cases,
        explained(
            cases,
            [HOLDS_EXACTLY] * len(cases),
            Text(
                "Each sine repeats after its period, up to rounding: with one wave of rate 1 two of these positions "
                "differ by {one} only. All sines together do not repeat within these positions.",
                "每个正弦波在一个周期后（几乎）重复：只有一个速率为 1 的波时，这些位置中有两个仅相差 {one}。"
                "所有正弦波合在一起，在这些位置内不会重复。",
            ).format(one=number(numbers["one_wave"]["nearest"], 2)),
        ),
    )


def code_case(width: str, row: Mapping[str, Any], repeating: float) -> Case:
    """Judge the codes of one width; an entry beyond 1 is a counterexample."""
    case = present(
        same(f"D = {width}"),
        row["nearest"],
        repeating,
        what=Text("two codes differ by at least", "任意两个编码至少相差"),
        control=Text("control, wave that repeats", "对照（会重复的波）"),
        tolerance=TOLERANCE,
    )
    if row["largest"] <= 1.0 + TOLERANCE:
        return case
    beyond = Text("largest entry {x}", "最大元素 {x}").format(x=number(row["largest"]))
    return Case(case.name, COUNTEREXAMPLE, beyond, numbers=case.numbers)


def judge_distance(rows: Mapping[str, Any]) -> Claim:
    """Judge the claim that the similarity is a function of the distance."""
    cases = tuple(
        exact(
            same(f"D = {width}"),
            row["change"],
            row["change_of_sines"],
            what=Text("largest change over positions", "随位置的最大变化"),
            control=Text("control, sines without cosines", "对照（只有正弦、没有余弦）"),
            tolerance=POSITIONS_TOLERANCE,
        )
        for width, row in rows.items()
    )
    return Claim(
        2,
        Text("The similarity of two codes depends on their distance alone", "两个编码的相似度只取决于它们的距离"),
        Text(
            f"holds exactly: at one distance it changes by less than {POSITIONS_TOLERANCE:g} over positions, and that "
            f"of the sines alone by more than {CONTROL * POSITIONS_TOLERANCE:g}",
            f"精确成立：距离相同时，相似度随位置的变化小于 {POSITIONS_TOLERANCE:g}，而只用正弦时大于 "
            f"{CONTROL * POSITIONS_TOLERANCE:g}",
        ),
        cases,
        explained(
            cases,
            [HOLDS_EXACTLY] * len(cases),
            Text(
                "sin a sin b + cos a cos b = cos(a - b) is true of the codes alone. Projections to queries and keys, "
                "and the tokens that codes are added to, change that.",
                "sin a sin b + cos a cos b = cos(a - b) 只对编码本身成立。"
                "查询和键的投影，以及与编码相加的词元，都会改变这一点。",
            ),
        ),
    )


def judge_fall(rows: Mapping[str, Any], numbers: Numbers) -> Claim:
    """Judge the claim that the similarity falls with the distance: at every step, and as a trend."""
    wave_rises = numbers["one_wave"]["rises"]
    steps = [step_case(width, row, wave_rises) for width, row in rows.items()]
    trends = [trend_case(width, row) for width, row in rows.items()]
    return Claim(
        3,
        Text(
            "The further apart two positions are, the less similar their codes", "两个位置相距越远，它们的编码越不相似"
        ),
        Text(
            "every step: holds exactly if the similarity rises at no distance, and the control, one wave, does rise; "
            f"counterexample: it rises at some distance. Trend: holds if Spearman's correlation of distance and "
            f"similarity, up to distance {NEAR}, is {TREND} or below; fails if it is above",
            "每一步：相似度在任何距离上都不上升，且对照（单个波）会上升，则精确成立；反例：在某个距离上上升。"
            f"趋势：到距离 {NEAR} 为止，距离与相似度的斯皮尔曼相关系数不高于 {TREND} 则成立，否则不成立",
        ),
        (*steps, *trends),
        falling_instead(rows, steps, trends),
    )


def step_case(width: str, row: Mapping[str, Any], wave_rises: float) -> Case:
    """Judge whether the similarity of one width falls at every step."""
    rise, share = first_rise(row["similarity_T"]), row["rises"]
    name = Text(f"every step, D = {width}", f"每一步，D = {width}")
    numbers = {"rise": rise, "share": share}
    if rise is not None:
        measured = Text(
            "first rises at distance {rise}; {share:.0%} of all steps rise",
            "首次上升在距离 {rise} 处；所有步中有 {share:.0%} 上升",
        )
        return Case(name, COUNTEREXAMPLE, measured.format(rise=rise, share=share), numbers=numbers)
    measured = Text("rises nowhere; control, {share:.0%} of the steps", "处处不上升；对照中 {share:.0%} 的步上升")
    word = HOLDS_EXACTLY if wave_rises > 0.0 else UNDECIDED
    return Case(name, word, measured.format(share=wave_rises), numbers=numbers)


def trend_case(width: str, row: Mapping[str, Any]) -> Case:
    """Judge whether the similarity of one width falls as a trend."""
    measured = Text("Spearman's correlation {rank:.2f}", "斯皮尔曼相关系数 {rank:.2f}").format(rank=row["rank"])
    word = HOLDS if row["rank"] <= TREND else FAILS
    return Case(Text(f"trend, D = {width}", f"趋势，D = {width}"), word, measured, numbers={"rank": row["rank"]})


def falling_instead(rows: Mapping[str, Any], steps: Sequence[Case], trends: Sequence[Case]) -> Text:
    """Write what is true of the similarity, with the numbers of each width."""
    if all(case.word == HOLDS_EXACTLY for case in steps):
        return Text("It falls at every step, at each of these widths.", "对这些宽度，它在每一步都下降。")
    first = joined(
        Text(f"{case.numbers['rise']} with D = {width}", f"D = {width} 时为 {case.numbers['rise']}")
        for width, case in zip(rows, steps, strict=True)
        if case.numbers["rise"] is not None
    )
    falling = [width for width, case in zip(rows, trends, strict=True) if case.word == HOLDS]
    widths = listed(map(same, falling))
    trend = (
        Text(
            " As a trend it falls up to distance {near} with D = {widths}.",
            "到距离 {near} 为止，D = {widths} 时总体趋势是下降的。",
        )
        if falling
        else Text(
            " No width has a falling trend up to distance {near}.", "到距离 {near} 为止，没有哪个宽度有下降的趋势。"
        )
    )
    head = Text(
        "The similarity falls up to the first rise, then oscillates. The first rise is at distance {first}.",
        "相似度在首次上升之前下降，之后振荡。首次上升的距离：{first}。",
    ).format(first=first)
    return Text(*(a + b for a, b in zip(head, trend.format(near=NEAR, widths=widths), strict=True)))
