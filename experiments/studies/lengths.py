"""Lengths: recall of the token BACK positions ago, trained on short sequences and tested on longer ones.

The label of a position is the token that stood BACK positions before it, so the task is the same at every length: what
is needed is as near as in training, and there are only more positions. Models differ in how positions are encoded;
embeddings are multiplied by √D with all of them. Vaswani et al. 2017, section 3.5, chose sinusoids since these "may
allow the model to extrapolate"; Press et al. 2022, arXiv:2108.12409, find that they do not, and that ALiBi does.

Accuracies at a longer length are of the positions that training did not have.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AT_LEAST, HOLDS, NOT_TESTED, PREVIEW
from experiments.studies.distance import recall
from experiments.studies.frame.claim import MOST, Case, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import (
    ACCURACY,
    TEST,
    Baseline,
    Contrast,
    Experiment,
    Question,
    Reading,
    Trainee,
    held_out_batches,
)
from experiments.studies.frame.pictures import curve, finish, panels, powers
from experiments.studies.frame.text import NOTHING, Text, same
from experiments.studies.parts import synthetic
from experiments.training.update import token_sums
from transformer import Model
from transformer.schema import at_least, setting

KINDS = ("none", "sinusoidal", "learned", "rotary", "alibi", "relative")
"""Ways of encoding positions."""
IN_WORDS = {"none": Text("no encoding", "无位置编码")}
"""Ways whose name is no name within a sentence -> words for them."""
WITHIN = ("rotary", "alibi", "relative")
"""Ways that work within attention, by distances."""
BACK, LONGER = 3, (2, 4)
"""Positions from a token to its label; lengths at test, in units of the trained one."""
LEARNED, DIFFERENT = 0.9, 0.05
"""Accuracy from which on the task counts as learned; least difference of accuracies that matters."""
SHARE = Text("share of tokens", "词元比例")


@dataclasses.dataclass(frozen=True)
class LengthsSettings(TrainedSettings):
    """Ways of encoding positions beyond the trained length: python -m experiments.studies lengths --length=32"""

    length: int = setting(16, "length of training sequences (T, tokens)", check=at_least(2 * BACK, MOST // 4))
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))


def trainee(settings: LengthsSettings, kind: str) -> Trainee:
    """Make what is trained with a way of encoding positions; it must have learned the task at the trained length."""
    T, V = settings.length, settings.vocabulary
    limit = {"max_length": max(LONGER) * T} if kind == "learned" else {}
    shape = dict(vocab_size=V, width=settings.width, num_layers=2, num_heads=2, embedding={"scale": True})
    model = transformer.build(dict(architecture="decoder_only", position=kind, **shape, **limit))
    back = jnp.asarray(BACK)
    longer = {}
    for times in LONGER:
        (longer[times],) = held_out_batches(recall(64, times * T, V, T), back, count=1, stream=TEST)

    def extra(model: Model, params: Any) -> Mapping[str, Array]:
        sums = {times: token_sums(model, params, batch)[1] for times, batch in longer.items()}
        return {f"accuracy_{times}": own["correct"] / own["tokens"] for times, own in sums.items()}

    task = {"name": "recall by distance", "distance": BACK, "length": T, "batch": settings.batch}
    what = Text("what counts as learned at the trained length", "训练长度上算作学会的标准")
    return synthetic.trainee(
        model,
        recall(settings.batch, T, V, BACK),
        back,
        labels=V,
        task=task,
        baselines={ACCURACY: Baseline(LEARNED, what)},
        extra=extra,
    )


def experiment(settings: LengthsSettings) -> Experiment:
    """Return an arm for each way of encoding positions, and the claims."""
    arms = {kind: functools.partial(trainee, settings, kind) for kind in KINDS}
    return Experiment(arms, questions(settings.length), settings.updates)


def questions(length: int) -> tuple[Question, ...]:
    """Return the claims on sequences that are longer than `length`."""
    far = max(LONGER)
    at_far = Reading(functools.partial(accuracy_at, times=far), reading_name(far * length))
    changes = ("model.position", "model.max_length", "model.relative")

    def against(ours: str, others: str) -> Contrast:
        name = Text(f"{ours} against {others}", f"{ours} 对 {others}")
        return Contrast(name, (ours,), (others,), changes, (ours, others))

    reach = [
        Question(
            1 + i,
            Text(
                f"What was learned at {length} tokens is right at {times * length}",
                f"在 {length} 个词元上学到的，在 {times * length} 个词元上也正确",
            ),
            kept_by,
            LEARNED,
            tuple(Contrast(same(kind), (kind,)) for kind in KINDS),
            kind=AT_LEAST,
            unit=SHARE,
            reading=Reading(functools.partial(accuracy_at, times=times), reading_name(times * length)),
        )
        for i, times in enumerate(LONGER)
    ]
    return (
        *reach,
        Question(
            3,
            Text(
                "Sinusoidal positions extrapolate to longer sequences better than learned ones",
                "正弦位置编码比学习的位置编码更能外推到更长的序列",
            ),
            Text(
                f"Compared at {far * length} tokens. The rows of the table beyond {length} are never trained; "
                "sinusoids have values there, but no model was trained on them.",
                f"在 {far * length} 个词元处比较。位置表在 {length} 之后的行从未训练；"
                "正弦编码在那里有值，但模型没有在其上训练过。",
            ),
            DIFFERENT,
            (against("sinusoidal", "learned"),),
            unit=SHARE,
            reading=at_far,
        ),
        Question(
            4,
            Text(
                "Positions within attention extrapolate better than sinusoids that are added",
                "注意力内部的位置编码比相加的正弦编码更能外推",
            ),
            Text(
                f"Compared at {far * length} tokens. Rotary and relative positions and ALiBi give the scores distances "
                "alone, and the distance that is needed was in training.",
                f"在 {far * length} 个词元处比较。旋转、相对位置和 ALiBi 只让分数依赖距离，"
                "而所需的距离在训练中出现过。",
            ),
            DIFFERENT,
            tuple(against(kind, "sinusoidal") for kind in WITHIN),
            unit=SHARE,
            reading=at_far,
        ),
    )


def accuracy_at(lane: Mapping[str, Any], times: int) -> float:
    """Return the accuracy at so many times the trained length."""
    return float(lane["extra"][f"accuracy_{times}"])


def reading_name(length: int) -> Text:
    """Return the name of the accuracy at a length."""
    return Text(
        f"accuracy at {length} tokens, of the positions that training did not have",
        f"{length} 个词元时训练中没有的位置上的正确率",
    )


def kept_by(cases: list[Case]) -> Text:
    """Return what to say of a length: with which positions it holds, of those that were judged."""
    good = [IN_WORDS.get(case.name.en, case.name) for case in cases if case.word == HOLDS]
    names = Text(*(mark.join(name[i] for name in good) for i, mark in enumerate((", ", "、"))))
    right = Text("It was right with: {names}. ", "仍然正确的有：{names}。").format(names=names)
    if not good:
        judged = any(case.word not in (NOT_TESTED, PREVIEW) for case in cases)
        right = Text("It was right with none of them. ", "没有一种仍然正确。") if judged else NOTHING
    return Text(
        "It depends on how positions are encoded. {right}The task needs the token {back} positions ago; what needs "
        "distances that training did not have is another question.",
        "这取决于位置编码方式。{right}任务需要 {back} 个位置之前的词元；需要训练中没有的距离则是另一个问题。",
    ).format(right=right, back=BACK)


def draw(numbers: Numbers) -> Figure:
    """Draw the accuracy of each way against the length, and against updates at the trained length."""
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row.get("runs")}
    figure, (axes,) = panels(2, width=4.0)
    for i, kind in enumerate(KINDS):
        if kind not in trained:
            continue
        run = trained[kind][max(trained[kind], key=int)]
        rows = [run["accuracy_R"], *(run["extra"][f"accuracy_{times}"] for times in LONGER)]
        curve(axes[0], (1, *LONGER), np.array(rows, float), kind, i)
        curve(axes[1], run["curve"]["updates"], np.asarray(run["curve"]["accuracy_PR"], float), kind, i)
    powers(axes[0], (1, *LONGER))
    finish(axes[0], "after the most updates", "length, in units of the trained one", "share of tokens right")
    finish(axes[1], "at the trained length", "updates", "share of tokens right")
    for one in axes:
        one.set_ylim(-0.02, 1.05)
    if trained:
        axes[0].legend(frameon=False, fontsize=7)
    return figure


LENGTHS = Study(
    title=Text("Ways of encoding positions beyond the trained length", "超出训练长度时的位置编码"),
    settings=LengthsSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"claims": (4,), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
