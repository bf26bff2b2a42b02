"""Ladder: from a recurrent translator to the Transformer, rung by rung (see `parts.rungs`), on dates or on sentences.

Exact match: all tokens of an answer are right, each given the reference before it; the greedy answer is then right.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AS_GOOD, EQUAL
from experiments.studies.frame.claim import MOST, MOST_STEPS, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import EXACT, LOSS, Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import curve, even, finish, panels, points
from experiments.studies.frame.text import Text, against
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import pairs
from experiments.studies.parts.rungs import (
    ALONE,
    ATTENDING,
    CHINESE,
    DECODER,
    ENCODER,
    RNN,
    ROWS,
    SELF_TOO,
    TRANSFORMER,
    of_size,
)
from transformer.errors import problem
from transformer.schema import at_least, setting

ANSWERS, NATS = 0.05, 0.02
"""Least differences that matter: of the share of whole answers, and of nats per token."""
SHARE = Text("share of answers", "答案比例")
ORDER = (RNN, ATTENDING, ALONE, SELF_TOO, TRANSFORMER)


@dataclasses.dataclass(frozen=True)
class RungSettings(TrainedSettings):
    """Settings of both ladders."""

    held_out: int = setting(1024, pairs.HELD_OUT, check=at_least(64, MOST_STEPS))
    longest: int = setting(
        48, "most tokens of a source or a target; longer pairs are left out", check=at_least(2, MOST)
    )
    batch: int = setting(32, "pairs per update", check=at_least(1, MOST))


@dataclasses.dataclass(frozen=True)
class LadderSettings(RungSettings):
    """Ladder from RNN to Transformer at one size, on dates: python -m experiments.studies ladder --locales=de,fi"""

    locales: tuple[str, ...] = setting(pairs.LOCALES, "CLDR locales of the dates")
    examples: int = setting(20_000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    width: int = setting(
        48, "width D of the Transformer, even; the other rungs get its number of parameters", check=at_least(2, MOST)
    )
    updates: int = updates_setting(600)


@dataclasses.dataclass(frozen=True)
class TranslationSettings(RungSettings):
    """Ladder from RNN to Transformer at one size, on sentences: python -m experiments.studies translation --data=DIR"""

    data: str | None = setting(None, "folder with train.de and train.en, aligned by line, plain or .gz; must be given")
    examples: int = setting(29_000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    width: int = setting(
        64, "width D of the Transformer, even; the other rungs get its number of parameters", check=at_least(2, MOST)
    )
    updates: int = updates_setting(3000)


def trainee(name: str, settings: Any, folder: str | None, locales: tuple[str, ...]) -> Trainee:
    """Make what a rung trains: a model with as many parameters as the Transformer."""
    held = read(folder, locales, settings.examples, settings.held_out, settings.longest)
    special = {"vocab_size": held.vocabulary, "width": settings.width, **ROWS[TRANSFORMER]}
    size = number_of_parameters(transformer.build(special))
    model = of_size(ROWS[name], held.vocabulary, size, name)
    return pairs.trainee(model, held, settings.batch, task={"data": "dates" if folder is None else "sentences"})


@functools.lru_cache(maxsize=2)
def read(folder: str | None, locales: tuple[str, ...], examples: int, held_out: int, longest: int) -> pairs.Pairs:
    """Read the pairs once for all rungs."""
    return pairs.read_pairs(folder, locales=locales, examples=examples, held_out=held_out, longest=longest)


def experiment_dates(settings: LadderSettings) -> Experiment:
    """Return the rungs on dates, and the claims."""
    arms = {name: functools.partial(trainee, name, settings, None, settings.locales) for name in ROWS}
    return Experiment(arms, questions(EXACT, ANSWERS, SHARE), settings.updates)


def experiment_sentences(settings: TranslationSettings) -> Experiment:
    """Return the rungs on the sentences of a folder, and the claims.

    Raises:
        UserError: no folder is given.
    """
    if settings.data is None:
        raise problem(
            "translation needs sentences", got="no --data", expected=pairs.FOLDER, do="Point --data=DIR to it."
        )
    arms = {name: functools.partial(trainee, name, settings, settings.data, ()) for name in ROWS}
    return Experiment(arms, questions(LOSS, NATS, Text("nats per token", "奈特每词元")), settings.updates)


def questions(metric: str, margin: float, unit: Text) -> tuple[Question, ...]:
    """Return the claims on the rungs."""
    common: Mapping[str, Any] = dict(metric=metric, unit=unit)

    def pair(ours: str, others: str, competent: Sequence[str] = ()) -> Contrast:
        return Contrast(against(ours, others, CHINESE), (ours,), (others,), ("model",), tuple(competent))

    steps = tuple(pair(b, a, (b,)) for a, b in itertools.pairwise(ORDER))
    others = tuple(pair(name, TRANSFORMER) for name in (DECODER, ENCODER))
    return (
        Question(
            1,
            Text(
                "Each step from the RNN to the Transformer improves the result",
                "从 RNN 到 Transformer 的每一步都改进结果",
            ),
            Text(
                "All rungs have the same number of parameters, so their depths and widths differ. Each step has a "
                "word of "
                "its own; which step helps depends on the task, the size and the number of updates.",
                "各级参数量相同，因此深度和宽度不同。每一步各有结论；哪一步有益取决于任务、规模和更新次数。",
            ),
            margin,
            steps,
            **common,
        ),
        Question(
            2,
            Text(
                "Attention is all you need: without recurrence and feed-forward it does as well",
                "“注意力就是全部所需”：没有循环和前馈网络也一样好",
            ),
            Text(
                "The paper's title is about recurrence: its model has feed-forward layers and needs positions.",
                "论文标题说的是不需要循环：其模型有前馈网络，并且需要位置编码。",
            ),
            margin,
            tuple(pair(name, TRANSFORMER) for name in (ALONE, SELF_TOO)),
            kind=AS_GOOD,
            **common,
        ),
        Question(
            6,
            Text(
                "Encoder-decoder, decoder-only and encoder-only do the same task equally well",
                "编码器-解码器、仅解码器和仅编码器完成同一任务的效果相同",
            ),
            Text(
                "All three can be trained for it. Each token of an encoder-only answer is predicted at once, and a "
                "decoder "
                "is given the reference before each; whole answers can be compared, shares of tokens cannot.",
                "三者都能训练来完成它。仅编码器同时预测全部词元，解码器则在给定之前参考的条件下逐个预测；整句答案可以比较，词元比例不能。",
            ),
            margin,
            others,
            kind=EQUAL,
            **common,
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the result of each rung and its course against the number of updates."""
    trained = {name: row for name, row in numbers["trained"].items() if row["runs"]}
    figure, grid = panels(3, width=4.0, height=3.4)
    key = EXACT
    for axes, order in ((grid[0, 0], min), (grid[0, 1], max)):
        runs = {name: row["runs"][order(row["runs"], key=int)] for name, row in trained.items()}
        if runs:
            updates = max(int(u) for row in trained.values() for u in [order(row["runs"], key=int)])
            points(axes, *even({name: run[f"{key}_R"] for name, run in runs.items()}))
            finish(axes, f"{updates:,} updates", "exact match (share of held-out answers)", "")
    for i, (name, row) in enumerate(trained.items()):
        course = row["runs"][max(row["runs"], key=int)]["curve"]
        curve(grid[0, 2], course["updates"], np.asarray(course[f"{key}_PR"], float), name, i)
    finish(grid[0, 2], "during training", "updates", "exact match")
    if trained:
        grid[0, 2].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return figure


LADDER = Study(
    title=Text(
        "From RNN to Transformer, rung by rung, at one number of parameters: dates",
        "参数量相同，从 RNN 逐级到 Transformer：日期",
    ),
    settings=LadderSettings,
    experiment=experiment_dates,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "examples": 2000, "held_out": 128, "max_seeds": 1, "long_seeds": 0},
)
TRANSLATION = Study(
    title=Text(
        "From RNN to Transformer, rung by rung, at one number of parameters: sentences",
        "参数量相同，从 RNN 逐级到 Transformer：句子",
    ),
    settings=TranslationSettings,
    experiment=experiment_sentences,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "examples": 2000, "held_out": 128, "max_seeds": 1, "long_seeds": 0},
    needs="data",
)
