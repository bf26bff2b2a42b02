"""Ablation: rows of table 3 of "Attention Is All You Need" (Vaswani et al. 2017, arXiv:1706.03762) at a small size.

The paper's base is D = 512, N = 8, H = 64, 6 layers, F = 2048, dropout 0.1, smoothing 0.1, sinusoids; here it is a
small one of the same shape. Each row changes one setting, as the paper's. Embeddings are scaled by √D in all rows, with
learned positions too. The rows on dropout are trained on few pairs, many times over, so that a model can overfit.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import EQUAL
from experiments.studies.frame.claim import MOST, MOST_STEPS, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import ACCURACY, LOSS, Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts import pairs
from transformer.schema import at_least, setting

BASE, SMOOTHING, MARGIN = "base", 0.1, 0.02
ROWS: dict[str, Mapping[str, Any]] = {
    BASE: {},
    "1 head": {"num_heads": 1, "head_width": 48},
    "12 heads": {"num_heads": 12, "head_width": 4},
    "narrow heads": {"head_width": 4},
    "1 layer": {"num_layers": 1},
    "3 layers": {"num_layers": 3},
    "half width": {"width": 24, "feed_forward_width": 96},
    "double width": {"width": 96, "feed_forward_width": 384},
    "no smoothing": {},
    "learned positions": {"position": "learned"},
}
"""Changes of the base model, by row; N H = D stays where the number of heads changes, as in the paper's row (A)."""
ONE_HEAD, MANY_HEADS, NARROW, SHALLOW, DEEP, SMALL, LARGE, SHARP, LEARNED = list(ROWS)[1:]
DROPOUT: dict[str, float | None] = {
    "few pairs, dropout 0.1": 0.1,
    "few pairs, no dropout": None,
    "few pairs, dropout 0.3": 0.3,
}
"""Rows on dropout."""
CHINESE = {
    "1 head": "1 个头",
    "12 heads": "12 个头",
    "narrow heads": "较窄的头",
    "1 layer": "1 层",
    "3 layers": "3 层",
    "half width": "一半宽度",
    "double width": "两倍宽度",
    "no smoothing": "无平滑",
    "learned positions": "学习的位置编码",
}
"""Names of rows in Chinese."""
SOME, NO_DROPOUT, MORE = DROPOUT
COMMON: Mapping[str, Any] = dict(
    num_layers=2, width=48, num_heads=4, feed_forward_width=192, dropout=0.1, embedding={"scale": True}
)
"""Model settings of the base."""
LONGEST = 48
"""Most tokens of a source or a target; longer pairs are left out."""
UNIT = Text("nats per token", "奈特每词元")


@dataclasses.dataclass(frozen=True)
class AblationSettings(TrainedSettings):
    """Rows of the paper's table 3: python -m experiments.studies ablation --examples=500"""

    data: str | None = setting(None, pairs.FLAG)
    examples: int = setting(1000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    few: int = setting(200, "training pairs of the rows on dropout", check=at_least(1, MOST_STEPS))
    held_out: int = setting(1024, pairs.HELD_OUT, check=at_least(64, MOST_STEPS))
    batch: int = setting(32, "pairs per update", check=at_least(1, MOST))
    updates: int = updates_setting(600)


@functools.lru_cache(maxsize=2)
def read(folder: str | None, examples: int, held_out: int) -> pairs.Pairs:
    """Read the pairs once for all rows."""
    return pairs.read_pairs(folder, locales=pairs.LOCALES, examples=examples, held_out=held_out, longest=LONGEST)


def trainee(
    settings: AblationSettings, changes: Mapping[str, Any], *, few: bool = False, sharp: bool = False
) -> Trainee:
    """Make what a row trains."""
    held = read(settings.data, settings.examples, settings.held_out)
    if few:
        held = dataclasses.replace(held, train=held.train[: settings.few])
    limit = {"max_length": LONGEST + 1} if changes.get("position") == "learned" else {}
    model = transformer.build({"vocab_size": held.vocabulary, **COMMON, **limit, **changes})
    data = {"data": "dates" if settings.data is None else "sentences"}
    return pairs.trainee(model, held, settings.batch, task=data, smoothing=None if sharp else SMOOTHING)


def experiment(settings: AblationSettings) -> Experiment:
    """Return an arm for each row, and the claims."""
    arms = {name: functools.partial(trainee, settings, row, sharp=name == SHARP) for name, row in ROWS.items()}
    for name, rate in DROPOUT.items():
        arms[name] = functools.partial(trainee, settings, {"dropout": rate}, few=True)
    return Experiment(arms, QUESTIONS, settings.updates)


def base_against(row: str, *changes: str) -> Contrast:
    """Return the case in which the base is better than a row."""
    return Contrast(Text(f"base against {row}", f"基准对 {CHINESE[row]}"), (BASE,), (row,), changes, (BASE,))


def against_base(row: str, *changes: str) -> Contrast:
    """Return the case in which a row is better than the base."""
    return Contrast(Text(f"{row} against base", f"{CHINESE[row]} 对基准"), (row,), (BASE,), changes)


HEADS = ("model.num_heads", "model.num_kv_heads", "model.head_width")
WIDTHS = ("model.width", "model.feed_forward_width", "model.head_width")
DEPTHS = ("model.num_layers", "model.num_encoder_layers", "model.num_decoder_layers")
DROPPED = ("model.dropout",)
QUESTIONS = (
    Question(
        1,
        Text("One head is worse than several, and so are too many (A)", "单头不如多头，头太多也不好（A）"),
        Text(
            "The paper: 0.9 BLEU for one head against the best; heads of 16 entries were a little worse too.",
            "论文：单头比最佳低 0.9 BLEU；每头 16 维也略差。",
        ),
        MARGIN,
        (base_against(ONE_HEAD, *HEADS), base_against(MANY_HEADS, *HEADS)),
        unit=UNIT,
    ),
    Question(
        2,
        Text("Narrower heads, at one number of them, are worse (B)", "头数不变时，更窄的头更差（B）"),
        Text(
            "The paper narrows keys alone. Here values become as narrow, and there are fewer parameters.",
            "论文只缩小键的维度；这里值也同样变窄，参数更少。",
        ),
        MARGIN,
        (base_against(NARROW, *HEADS),),
        unit=UNIT,
    ),
    Question(
        3,
        Text("A bigger model is better (C)", "模型越大越好（C）"),
        Text(
            "This is measured with as many pairs and updates for every size.", "所有规模使用相同数量的句对和更新次数。"
        ),
        MARGIN,
        (
            base_against(SHALLOW, *DEPTHS),
            against_base(DEEP, *DEPTHS),
            base_against(SMALL, *WIDTHS),
            against_base(LARGE, *WIDTHS),
        ),
        unit=UNIT,
    ),
    Question(
        4,
        Text("No dropout is worse (D)", "没有 dropout 更差（D）"),
        Text(
            "Here 200 pairs are seen many times, so that a model can overfit. With many more pairs, or other rates, "
            "the answer may be another.",
            "这里 200 个句对被反复学习，模型可能过拟合。句对多得多时，或用其他比率时，结果可能不同。",
        ),
        MARGIN,
        (
            Contrast(Text("0.1 against none", "0.1 对无"), (SOME,), (NO_DROPOUT,), DROPPED, (SOME,)),
            Contrast(Text("0.3 against none", "0.3 对无"), (MORE,), (NO_DROPOUT,), DROPPED, (MORE,)),
        ),
        unit=UNIT,
    ),
    Question(
        5,
        Text("Without label smoothing perplexity is lower (D)", "不用标签平滑，困惑度更低（D）"),
        Text(
            "Smoothing trains for a flatter distribution than the loss measures. The paper reports a better BLEU "
            "with it.",
            "标签平滑训练的是比损失所衡量的更平的分布。论文报告使用它时 BLEU 更好。",
        ),
        MARGIN,
        (against_base(SHARP, "smoothing"),),
        unit=UNIT,
    ),
    Question(
        6,
        Text("Learned positions do about as well as sinusoids (E)", "学习的位置编码与正弦编码效果相近（E）"),
        Text(
            "Embeddings are scaled by √D with both. A table has to learn from the examples what sinusoids give from "
            "the "
            "first update on.",
            "两者的词嵌入都乘以 √D。位置表必须从样本中学习正弦编码一开始就给出的东西。",
        ),
        MARGIN,
        (
            Contrast(
                Text("learned against sinusoidal", "学习的对正弦的"),
                (LEARNED,),
                (BASE,),
                ("model.position", "model.max_length"),
            ),
        ),
        kind=EQUAL,
        unit=UNIT,
    ),
    Question(
        7,
        Text(
            "Without label smoothing accuracy is lower (D; the paper: BLEU)",
            "不用标签平滑，正确率更低（D；论文：BLEU）",
        ),
        Text(
            "The effect of smoothing on the most likely token is a question of its own.",
            "标签平滑对最可能词元的影响是另一个问题。",
        ),
        0.01,
        (Contrast(Text("base against no smoothing", "基准对无平滑"), (BASE,), (SHARP,), ("smoothing",)),),
        metric=ACCURACY,
        unit=Text("share of tokens", "词元比例"),
    ),
)
"""The claims; all of them are fixed before the runs."""


def draw(numbers: Numbers) -> Figure:
    """Draw the held-out loss of each row at both numbers of updates."""
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row["runs"]}
    figure, grid = panels(2, width=4.2, height=3.6)
    for axes, order in zip(grid[0], (min, max), strict=True):
        runs = {name: row[order(row, key=int)] for name, row in trained.items()}
        if runs:
            points(axes, *even({name: run[f"{LOSS}_R"] for name, run in runs.items()}))
            base = np.mean(runs[BASE][f"{LOSS}_R"]) if BASE in runs else np.nan
            axes.axvline(float(base), color="black", linestyle=":", linewidth=1.0)
            updates = max(int(order(row, key=int)) for row in trained.values())
            finish(axes, f"{updates:,} updates (dotted: base)", "held-out loss (nats per token)", "")
    return figure


ABLATION = Study(
    title=Text(
        "Rows of table 3 of Attention Is All You Need, at a small size",
        "《Attention Is All You Need》表 3 的各行，小规模",
    ),
    settings=AblationSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "claims": (4, 6)},
)
