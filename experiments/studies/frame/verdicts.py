"""The words of an experiment's claims, by the decision rule and its gates.

A case is read at 1x the updates, at looks of 4, 8 and 16 seeds until it is decided, and at 4x at the first look. It is
"not tested" at a number of updates where a gate fails:

    competence    the reference is no better than trivial predictions, such as counted trigrams
    rate          the best learning rate is an end of its grid, though the grid has grown
    one change    an arm differs from its reference in a setting that the claim does not name
    budget        it was not trained at 4x the updates

Seeds and held-out items both leave an uncertainty: where the interval over items alone gives another word than that
over seeds, the case is undecided. Where the words at 1x and 4x are equal the claim has one case, otherwise two.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.comparing.decision import (
    AT_LEAST,
    KINDS,
    LOOKS,
    NOT_TESTED,
    PREVIEW,
    UNDECIDED,
    Decision,
    advantages,
    decide,
)
from experiments.comparing.held_out import Items, over_items
from experiments.studies.frame.claim import Case, Claim
from experiments.studies.frame.experiment import MODES, Contrast, Question, allowed, differences, score_of
from experiments.studies.frame.lab import Lab
from experiments.studies.frame.store import Line
from experiments.studies.frame.text import NOTHING, WORDS, Text, joined, number, same

LONGER = 4
"""Updates of the budget gate, in units of those of the claim."""


def judge_question(lab: Lab, question: Question, *, max_seeds: int, long_seeds: int) -> Claim:
    """Find the word of each case, training what is missing if the lab trains.

    Args:
        max_seeds: most seeds at 1x.
        long_seeds: most seeds at 4x.
    """
    lab.fix(question, LOOKS)
    cases = [case for c in question.contrasts for case in judge_contrast(lab, question, c, max_seeds, long_seeds)]
    instead = question.instead(cases) if callable(question.instead) else question.instead
    return Claim(question.number, question.said, criterion_of(question), tuple(cases), instead)


def criterion_of(question: Question) -> Text:
    """Return the rule of a question in words."""
    rule = KINDS[question.kind].words.format(margin=f"{question.margin:g}")
    own = rule
    for word, other in RULE_WORDS.items():
        own = own.replace(word, other)
    metric = question.reading.name if question.reading else METRICS[question.metric]
    if question.kind == AT_LEAST:
        return Text(
            f"{metric.en}: L..U is the interval over seeds; {rule}", f"{metric.zh}：L..U 为随机种子上的区间；{own}"
        )
    how = Text("how much better, paired by seed, interval L..U, margin", "按种子配对的改进量，区间 L..U，界限")
    unit, margin = question.unit, f"{question.margin:g}"
    return Text(f"{metric.en}: {how.en} {margin} {unit.en}; {rule}", f"{metric.zh}：{how.zh} {margin} {unit.zh}；{own}")


RULE_WORDS = {
    **{word: WORDS[word].zh for word in ("no difference", "holds", "reversed", "fails")},
    "else ": "否则",
    " and ": " 且 ",
    " or ": " 或 ",
    ": ": "：",
    "; ": "；",
}
"""Words of a rule -> the same in Chinese."""

METRICS = {
    "loss": Text("held-out loss", "留出集损失"),
    "accuracy": Text("share of held-out tokens right", "留出集词元正确率"),
    "exact": Text("share of held-out answers right as a whole", "留出集整句正确率"),
    "kept": Text(
        "loss of bytes at the end of windows of the trained length, less that of the same bytes in longer windows",
        "训练长度窗口末尾字节的损失，减去同样的字节在更长窗口中的损失",
    ),
}
"""Metric -> its name on the page."""


def judge_contrast(lab: Lab, question: Question, contrast: Contrast, max_seeds: int, long_seeds: int) -> list[Case]:
    """Return the case of a contrast; two where the words at 1x and at 4x the updates differ."""
    updates = lab.experiment.updates
    short = case_at(lab, question, contrast, updates, max_seeds)
    if short.word == PREVIEW:
        return [short]
    long = case_at(lab, question, contrast, LONGER * updates, long_seeds)
    if not long.numbers:
        if not short.numbers or short.word == NOT_TESTED:
            return [short]
        reason = BUDGET.format(word=WORDS[short.word], updates=f"{LONGER * updates:,}")
        return [Case(contrast.name, NOT_TESTED, short.measured, short.at, reason, None, short.numbers)]
    if short.word == long.word != NOT_TESTED:
        at = Text(f"{updates:,} and {LONGER * updates:,} updates", f"{updates:,} 与 {LONGER * updates:,} 次更新")
        reason = joined(text for text in dict.fromkeys((short.reason, long.reason)) if text)
        numbers = {**short.numbers, "long": long.numbers}
        return [Case(contrast.name, short.word, joined((short.measured, long.measured)), at, reason, short.p, numbers)]
    return [short, long]


def case_at(lab: Lab, question: Question, contrast: Contrast, updates: int, max_seeds: int) -> Case:
    """Read the word of a contrast at a number of updates, with more seeds until it is decided."""
    at = Text(f"{updates:,} updates", f"{updates:,} 次更新")
    found: Case | None = None
    for look in [n for n in LOOKS if n <= max_seeds] or ([max_seeds] if max_seeds else []):
        lanes = {arm: lab.scores(arm, updates, look) for arm in contrast.arms}
        if any(lane is None for lane in lanes.values()):
            break
        found, decided = read(lab, question, contrast, at, lanes)
        if decided or found.word == NOT_TESTED:
            break
    return found or Case(contrast.name, NOT_TESTED, NOTHING, at, Text("not run", "未运行"))


def read(
    lab: Lab, question: Question, contrast: Contrast, at: Text, lanes: Mapping[str, Sequence[Line]]
) -> tuple[Case, bool]:
    """Return the case that these lanes give, and whether it needs no more seeds."""
    scores = {arm: np.array([question.value(lane) for lane in rows]) for arm, rows in lanes.items()}
    values = values_of(question, contrast, scores)
    decision = decide(values, margin=question.margin, kind=question.kind)
    numbers: dict[str, Any] = {
        "values": values,
        "means": {arm: float(np.mean(x)) for arm, x in scores.items()},
        "rates": {arm: rows[0]["rate"] for arm, rows in lanes.items()},
        "changes": changes_of(lab, contrast),
        "margin": question.margin,
        "kind": question.kind,
        "updates": next(iter(lanes.values()))[0]["updates"],
    }
    if decision.word == PREVIEW:
        return Case(contrast.name, PREVIEW, measured(decision, None), at, NOTHING, None, numbers), True
    items = items_of(question, contrast, lanes, decision)
    numbers |= {"low": decision.low, "high": decision.high, "level": decision.level}
    numbers |= {"items": list(items)} if items else {}
    text = measured(decision, items)
    reasons = [*gates(lab, contrast, lanes)]
    if reasons:
        return Case(contrast.name, NOT_TESTED, text, at, joined(reasons), None, numbers), True
    word, reason = decision.word, NOTHING
    if items is not None and decision.decided and KINDS[question.kind].rule(*items, question.margin) != word:
        word = UNDECIDED
        reason = Text(
            f"{decision.word} over seeds, but the held-out items leave it open",
            f"按随机种子为{WORDS[decision.word].zh}，但留出样本不足以确定",
        )
    elif not decision.decided:
        reason = power_of(decision, question)
    return Case(contrast.name, word, text, at, reason, decision.p, numbers), decision.decided


def values_of(question: Question, contrast: Contrast, scores: Mapping[str, np.ndarray]) -> list[float]:
    """Compute the value of each seed: the sum of the advantages of `ours` over `others`, or of the scores alone."""
    if not contrast.others:
        return [float(x) if math.isfinite(x) else -math.inf for x in scores[contrast.ours[0]]]
    pairs = zip(contrast.ours, contrast.others, strict=True)
    rows = [advantages(scores[our], scores[other], mode=question.mode) for our, other in pairs]
    return [_sum(column) for column in zip(*rows, strict=True)]


def _sum(parts: Sequence[float]) -> float:
    """Add advantages; opposite infinities cancel, and where both models of a pair diverged the sum is not known."""
    if any(math.isnan(part) for part in parts):
        return math.nan
    total = math.fsum(part for part in parts if math.isfinite(part))
    signs = sum(math.copysign(1.0, part) for part in parts if math.isinf(part))
    return math.copysign(math.inf, signs) if signs else total


def items_of(
    question: Question, contrast: Contrast, lanes: Mapping[str, Sequence[Line]], decision: Decision
) -> tuple[float, float] | None:
    """Compute the interval over held-out items; None where a seed diverged, or what decides is no score of items."""
    if decision.diverged or question.reading is not None:
        return None
    parts = {
        arm: Items(*(np.mean([lane["test"][question.metric][i] for lane in rows], axis=0) for i in (0, 1)))
        for arm, rows in lanes.items()
    }
    ours, others = ([parts[arm] for arm in names] for names in (contrast.ours, contrast.others))
    if question.mode == "min" and others:
        ours, others = others, ours
    return over_items(ours, others, decision.level or 0.95)


def gates(lab: Lab, contrast: Contrast, lanes: Mapping[str, Sequence[Line]]) -> list[Text]:
    """List the gates that fail, in words."""
    found = []
    for arm in contrast.references:
        for metric, baseline in lab.of(arm).baselines.items():
            mean, best = float(np.mean([score_of(lane, metric) for lane in lanes[arm]])), baseline.score
            if mean < best if MODES[metric] == "min" else mean > best:
                continue
            values = dict(arm=arm, mean=number(mean), best=number(best), what=baseline.what)
            found.append(COMPETENCE.format(**values))
    for arm in contrast.arms:
        rate = lab.rate(arm)
        if rate is not None and not rate.inside:
            found.append(RATE.format(arm=arm, rate=f"{rate.value:g}"))
    for our, other in itertools.zip_longest(contrast.ours, contrast.others):
        if other is None:
            continue
        changed = differences(lab.of(our).settings, lab.of(other).settings)
        if more := [name for name in changed if not allowed(name, contrast.changes)]:
            found.append(CHANGES.format(our=our, other=other, names=", ".join(more)))
    return found


BUDGET = Text("{word} so far, but not run with {updates} updates", "目前为{word}，但尚未用 {updates} 次更新检验")


def changes_of(lab: Lab, contrast: Contrast) -> dict[str, list[Any]]:
    """List the settings in which the first arm differs from its reference: name -> (the reference's value, ours)."""
    if not contrast.others:
        return {}
    pair = (lab.of(arm).settings for arm in (contrast.ours[0], contrast.others[0]))
    return {name: list(values) for name, values in differences(*pair).items()}


COMPETENCE = Text("{arm} is no better than {what}: {mean} against {best}", "{arm} 不优于{what}：{mean} 对 {best}")
RATE = Text(
    "the best learning rate of {arm}, {rate}, is at the end of its grid", "{arm} 的最佳学习率 {rate} 位于搜索网格的边缘"
)
CHANGES = Text("{our} and {other} also differ in {names}", "{our} 与 {other} 还在 {names} 上不同")
"""Gates that fail, in words."""


def measured(decision: Decision, items: tuple[float, float] | None) -> Text:
    """Format the numbers that decided."""
    if decision.low is None or decision.high is None:
        values = ", ".join(number(value) for value in decision.values)
        return Text(f"{values} (seeds: {decision.count})", f"{values}（种子数：{decision.count}）")
    ends = f"{number(decision.low)} … {number(decision.high)}"
    kind = Text("", "") if not decision.diverged else Text("median ", "中位数 ")
    over = NOTHING
    if items is not None:
        span = f"{number(items[0])} … {number(items[1])}"
        over = Text(f"; over items {span}", f"；留出样本区间 {span}")
    diverged = NOTHING
    if decision.diverged:
        diverged = Text(f", {decision.diverged} diverged", f"，{decision.diverged} 个发散")
    return Text(
        f"{kind.en}{number(decision.middle)}, {ends} ({decision.count} seeds{diverged.en}){over.en}",
        f"{kind.zh}{number(decision.middle)}，{ends}（{decision.count} 个种子{diverged.zh}）{over.zh}",
    )


def power_of(decision: Decision, question: Question) -> Text:
    """Format the least effect that the seeds could show, and the seeds that are needed."""
    least, needed = decision.least_effect, decision.seeds_needed
    if not math.isfinite(least):
        return NOTHING
    count = same("> 100,000") if needed is None else same(f"{needed:,}")
    return Text(
        f"least effect that {decision.count} seeds show: {number(least)}; seeds needed: {count.en}",
        f"{decision.count} 个种子能显示的最小效应：{number(least)}；所需种子数：{count.zh}",
    )
