"""Claims of the study of padding, judged by its numbers, and the names of the ways that they are about."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY
from experiments.studies.frame.claim import CONTROL, TOLERANCE, Case, Claim, Numbers, exact
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.identities import COMMA, explained, listed, shown

FULL, PADDED, EMPTY = range(3)
"""Indices of the examples in a batch."""
WAYS = (
    "nothing (control)",
    "embeddings of -∞",
    "embeddings of 0",
    "scores of 0",
    "scores of -1e9",
    "scores of -1e9, float16",
    "scores of -∞",
    "the library's mask",
)
"""Names of the ways; the first is the control, the last the library's."""
NOTHING, INFINITE_EMBEDDINGS, ZERO_EMBEDDINGS, ZERO_SCORES, LARGE_SCORES, HALF_SCORES, INFINITE_SCORES, MASK = WAYS

EXAMPLES = {
    PADDED: Text("some key is real", "至少有一个键是真实的"),
    EMPTY: Text("all keys are padding", "所有键都是填充"),
}
HALF = Text("float16, ", "float16，")
SHARES = {
    "nan": Text("of the outputs are NaN", "的输出为 NaN"),
    "nan_gradient": Text("of the gradient of W are NaN", "的 W 梯度为 NaN"),
}
SIZES = {
    "error": Text("difference from the example alone", "与单独计算该样本的差异"),
    "weight": Text("weight on padding", "填充上的权重"),
    "leak": Text("gradient to padding", "对填充的梯度"),
}
CRITERION = Text(
    "holds exactly: the output equals that of the example alone (0 if all keys are padding), padding gets no weight "
    f"and no gradient (all errors below {TOLERANCE:g}), there is no NaN, and the control, where nothing is done about "
    f"padding, has errors above {CONTROL * TOLERANCE:g}; counterexample: some error above that, or NaN, in each draw",
    "精确成立：输出等于单独计算该样本的结果（若所有键都是填充则为 0），填充得不到权重和梯度"
    f"（所有误差小于 {TOLERANCE:g}），没有 NaN，且对照（对填充不作处理）的误差大于 {CONTROL * TOLERANCE:g}；"
    "反例：每次抽样中都有误差大于该值，或出现 NaN",
)
SENTENCES: tuple[tuple[Text, tuple[str, ...], tuple[str, ...], Text], ...] = (
    (
        Text("Padding embeddings of minus infinity are the same as the mask", "把填充的嵌入设为负无穷，与掩码相同"),
        (INFINITE_EMBEDDINGS,),
        (COUNTEREXAMPLE, COUNTEREXAMPLE),
        Text(
            "A product with -∞ is ±∞, and their sum, or 0 x ∞, is NaN. The rows that are no padding become NaN too.",
            "与 -∞ 的乘积是 ±∞，它们的和以及 0 × ∞ 都是 NaN。不是填充的行也会变成 NaN。",
        ),
    ),
    (
        Text("Padding embeddings of zero keep padding out", "把填充的嵌入设为零，即可排除填充"),
        (ZERO_EMBEDDINGS,),
        (COUNTEREXAMPLE, COUNTEREXAMPLE),
        Text(
            "A key of zero has a score of 0, and exp(0) = 1 is a weight like any other.",
            "为零的键的分数是 0，而 exp(0) = 1，与其他权重没有区别。",
        ),
    ),
    (
        Text("Setting masked scores to 0 keeps padding out", "把被掩盖的分数设为 0，即可排除填充"),
        (ZERO_SCORES,),
        (COUNTEREXAMPLE, COUNTEREXAMPLE),
        Text(
            "A score of 0 has the weight exp(0) before the division. Masked scores are set to -∞, before the softmax.",
            "分数 0 在归一化之前的权重是 exp(0)。被掩盖的分数应在 softmax 之前设为 -∞。",
        ),
    ),
    (
        Text("Scores of -1e9 are the same as a mask", "把分数设为 -1e9，与掩码相同"),
        (LARGE_SCORES, HALF_SCORES),
        (HOLDS_EXACTLY, COUNTEREXAMPLE, HOLDS_EXACTLY, COUNTEREXAMPLE),
        Text(
            "It is the same as a mask if at least one key is real. If all keys are padding, all scores are equal, and "
            "the result is the mean of the padding. In float16, -1e9 is -∞: if all keys are padding, the result is "
            "NaN.",
            "只要至少有一个键是真实的，它就与掩码相同。若所有键都是填充，则所有分数相等，结果是填充的平均值。"
            "在 float16 中，-1e9 就是 -∞：若所有键都是填充，结果为 NaN。",
        ),
    ),
    (
        Text("Scores of minus infinity are the same as a mask", "把分数设为负无穷，与掩码相同"),
        (INFINITE_SCORES,),
        (HOLDS_EXACTLY, COUNTEREXAMPLE),
        Text(
            "It is the same as a mask if at least one key is real. If all keys are padding, 0 / 0 is NaN, and so is "
            "the gradient of every function of it. A masked softmax, as in this library, gives 0 there.",
            "只要至少有一个键是真实的，它就与掩码相同。若所有键都是填充，0 / 0 为 NaN，依赖它的任何函数的梯度也是 NaN。"
            "带掩码的 softmax（如本库所用）在此处给出 0。",
        ),
    ),
)
"""Sentence, ways, words that the explanation is for (each way: some key is real, all are padding), explanation."""


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge a claim for each way that is often named."""
    ways = numbers["ways"]
    claims = []
    for i, (said, names, words, text) in enumerate(SENTENCES):
        cases = tuple(case(name, ways, b) for name in names for b in EXAMPLES)
        claims.append(Claim(i + 1, said, CRITERION, cases, explained(cases, words, text)))
    return claims


def errors(way: Mapping[str, np.ndarray], example: int) -> np.ndarray:
    """Return the largest error of each draw, R; infinite with any NaN."""
    values = np.stack([np.asarray(x, float)[:, example] for x in way.values()])
    return np.nan_to_num(values, nan=np.inf).max(0)


def case(name: str, ways: Mapping[str, Mapping[str, np.ndarray]], example: int) -> Case:
    """Judge one way with one example; the control is that nothing is done."""
    found = ways[name]
    judged = exact(EXAMPLES[example], errors(found, example), errors(ways[NOTHING], example))
    columns = {reading: np.asarray(x, float)[:, example] for reading, x in found.items()}
    if judged.word == COUNTEREXAMPLE:
        numbers = {reading: float(x.min()) for reading, x in columns.items()}
        parts = [Text(*(f"{numbers[reading]:.0%} {part}" for part in text)) for reading, text in SHARES.items()]
        if not any(numbers[reading] for reading in SHARES):
            parts = [
                Text(*(f"{part} {shown(numbers[reading], 2)}" for part in text)) for reading, text in SIZES.items()
            ]
        head = Text("smallest of the draws: ", "各次抽样中的最小值：")
    else:
        numbers = {reading: float(x.max()) for reading, x in columns.items()}
        parts = [Text(*(f"{part} {shown(numbers[reading], 2)}" for part in text)) for reading, text in SIZES.items()]
        numbers["control"] = float(errors(ways[NOTHING], example).min())
        control = Text("control, nothing done, smallest {x}", "对照（不作处理），最小 {x}")
        parts.append(control.format(x=number(numbers["control"])))
        head = Text("largest of the draws: ", "各次抽样中的最大值：")
    measured = Text(*(own + text for own, text in zip(head, listed(parts, COMMA), strict=True)))
    name_of_case = (
        Text(*map("".join, zip(HALF, EXAMPLES[example], strict=True))) if name == HALF_SCORES else judged.name
    )
    return dataclasses.replace(judged, name=name_of_case, measured=measured, numbers=numbers)
