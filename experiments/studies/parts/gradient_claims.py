"""The claims of the study `gradient_path`: the fall with the length, and with the distance within a sequence."""

from collections.abc import Sequence

import numpy as np

from experiments.comparing.decision import AS_GOOD, AT_LEAST, EQUAL, KINDS
from experiments.studies.frame.claim import Case, Claim, Numbers
from experiments.studies.frame.text import Text, joined, number
from experiments.studies.parts.laws import exponents, in_chinese, judged, shown, slopes

TINY = 1e-30
DECAY = 0.05
"""Least fall of the logarithm per token that counts as exponential."""
FLAT = 0.15
"""Largest exponent, up or down, that counts as no change."""

RECURRENT = ("GRU", "LSTM")
ATTENTION = ("attention, no positions", "attention, rotary", "attention, alibi")
NAMES = {
    "GRU": Text("GRU of one layer", "一层 GRU"),
    "LSTM": Text("LSTM of one layer", "一层 LSTM"),
    "attention, no positions": Text("attention without positions", "无位置编码的注意力"),
    "attention, rotary": Text("attention with rotary positions", "使用旋转位置编码的注意力"),
    "attention, alibi": Text("attention with ALiBi", "使用 ALiBi 的注意力"),
}


def ratios(numbers: Numbers, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (lengths L, |dh_T / dx_1| / |dh_T / dx_T| L R) of a model, of the lengths at which all are above TINY."""
    row, lengths_L = numbers["models"][name], np.asarray(numbers["lengths"])
    ratio_LR = np.asarray(row["first_LR"], float) / np.asarray(row["own_LR"], float)
    above = ~np.logical_or.accumulate((ratio_LR < TINY).any(axis=1))
    return lengths_L[above], ratio_LR[above]


def by_distance(numbers: Numbers, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (distances S, |dh_T / dx_(T - distance)| S R) of a model at the largest T."""
    return np.asarray(numbers["distances"]), np.asarray(numbers["models"][name]["away_SR"], float)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the exponential fall, on the distance within a sequence and on the length."""
    return [judge_decay(numbers), judge_distance(numbers), judge_length(numbers)]


def judge_decay(numbers: Numbers) -> Claim:
    """Judge the claim that the gradient falls exponentially."""
    what = Text("fall of the log per token", "对数每词元的下降量")

    def falls(name: str) -> np.ndarray:
        lengths_L, ratio_LR = ratios(numbers, name)
        return -slopes(lengths_L, np.log(ratio_LR))

    found = {name: falls(name) for name in (*RECURRENT, *ATTENTION)}
    cases = tuple(judged(NAMES[name], x, kind=AT_LEAST, margin=DECAY, what=what) for name, x in found.items())
    rows = joined(
        Text(
            f"{NAMES[name].en} {shown(np.exp(-found[name])).en}",
            f"{NAMES[name].zh} {shown(np.exp(-found[name])).zh}",
        )
        for name in RECURRENT
    )
    reach = {name: int(ratios(numbers, name)[0].max(initial=0)) for name in RECURRENT}
    return Claim(
        1,
        Text(
            "The gradient from the last state to the first token vanishes exponentially with the length",
            "从最后一个状态到第一个词元的梯度随长度指数消失",
        ),
        Text(
            f"how much the log of |dh_T/dx_1| / |dh_T/dx_T| falls per token of T, least squares over all T with ratios "
            f"above {TINY:g}: holds if the interval over draws is at least {DECAY:g}, fails if it is below; at the "
            f"start",
            f"|dh_T/dx_1| / |dh_T/dx_T| 的对数随 T 每增加一个词元的下降量，对比值大于 {TINY:g} 的所有 T 作最小二乘："
            f"抽样区间不低于 {DECAY:g} 则成立，低于则不成立；训练开始时",
        ),
        cases,
        Text(
            "Each token more multiplies the ratio by: {rows}. The GRU is read up to T = {gru}, the LSTM up to T = "
            "{lstm}. This is of initial parameters; training can change the gates.",
            "每多一个词元，比值乘以：{rows}。GRU 读到 T = {gru}，LSTM 读到 T = {lstm}。这是初始参数的结果；"
            "训练可以改变门。",
        ).format(rows=rows, gru=reach["GRU"], lstm=reach["LSTM"]),
    )


def judge_distance(numbers: Numbers) -> Claim:
    """Judge the claim that the gradient of attention does not fall with the distance within a sequence."""
    cases = tuple(flat(name, exponents(*by_distance(numbers, name)), AS_GOOD) for name in ATTENTION)
    return Claim(
        2,
        Text(
            "In attention every earlier token is one step away: the gradient does not fall with the distance",
            "在注意力中，每个先前的词元都只有一步之遥：梯度不随距离下降",
        ),
        _flat_criterion(
            Text(
                "|dh_T/dx_s| against the distance T - s, at the largest T",
                "最大的 T 处，|dh_T/dx_s| 对距离 T - s",
            ),
            AS_GOOD,
        ),
        cases,
        Text(
            "Exponents: {rows}. Before training, content does not depend on distance: only positions can make the "
            "gradient fall with it, as the bias of ALiBi is made to do. Under a causal mask the first tokens are also "
            "read by all rows after them, which raises the exponent.",
            "指数：{rows}。训练之前，内容与距离无关：只有位置编码能使梯度随距离下降，ALiBi 的偏置正是为此设计的。"
            "在因果掩码下，最前面的词元还会被其后所有的行读取，这使指数升高。",
        ).format(rows=_rows(cases)),
    )


def judge_length(numbers: Numbers) -> Claim:
    """Judge the claim that the ratio of attention does not change with the length."""

    def own(name: str) -> np.ndarray:
        return exponents(*ratios(numbers, name))

    cases = tuple(flat(name, own(name), EQUAL) for name in ATTENTION)
    longest = max(numbers["lengths"])
    return Claim(
        3,
        Text(
            "In attention the gradient to the first token does not depend on the length",
            "在注意力中，到第一个词元的梯度与长度无关",
        ),
        _flat_criterion(Text("|dh_T/dx_1| / |dh_T/dx_T| against T", "|dh_T/dx_1| / |dh_T/dx_T| 对 T"), EQUAL),
        cases,
        Text(
            "The path has one step per layer whatever the length, but T keys share a weight of 1, so one key has about "
            "1/T of it, while the token's own residual connection stays. (The first token is read through all the "
            "others too, which makes this log T / T in two layers.) Exponents: {rows}. At T = {longest} the ratio is "
            "{ratio} without positions; {gru}.",
            "无论长度如何，路径每层只有一步；但 T 个键分享总和为 1 的权重，每个键约得 1/T，而词元自身的残差连接不变。"
            "（第一个词元还经由其他词元被读取，因此两层时约为 log T / T。）"
            "指数：{rows}。T = {longest} 时，无位置编码的比值为 {ratio}，而 {gru}。",
        ).format(
            rows=_rows(cases),
            longest=longest,
            ratio=number(float(ratios(numbers, "attention, no positions")[1][-1].mean()), 2),
            gru=_least(numbers, "GRU"),
        ),
    )


def flat(name: str, values: np.ndarray, kind: str) -> Case:
    """Judge that an exponent is 0, or, as good as 0, that it is not below."""
    return judged(NAMES[name], values, kind=kind, margin=FLAT, what=Text("exponent", "指数"))


def _flat_criterion(what: Text, kind: str) -> Text:
    rule = KINDS[kind].words.format(margin=f"{FLAT:g}")
    return Text(
        f"exponent of {what.en}, least squares of the logarithms, interval L to U over draws; {rule}; two layers, at "
        f"the start",
        f"{what.zh} 的指数，取对数后作最小二乘，抽样区间为 L 至 U；{in_chinese(rule)}；两层，训练开始时",
    )


def _rows(cases: Sequence[Case]) -> Text:
    return joined(Text(*(f"{label} {number(case.numbers['middle'], 2)}" for label in case.name)) for case in cases)


def _least(numbers: Numbers, name: str) -> Text:
    """Return the mean ratio of a model at the largest length at which it could be read."""
    lengths_L, ratio_LR = ratios(numbers, name)
    if not len(lengths_L):
        return Text("that of the {name} is too small to read", "{name} 的比值小得无法读出").format(name=name)
    values = dict(name=name, T=int(lengths_L[-1]), ratio=number(float(ratio_LR[-1].mean()), 2))
    return Text("that of the {name} at T = {T} is {ratio}", "{name} 在 T = {T} 时为 {ratio}").format(**values)
