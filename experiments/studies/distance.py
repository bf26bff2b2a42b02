"""Distance: recall of the token that stood d positions ago, against d.

    one sequence    the label of position t is the token at t - d
    a copy          a source of d tokens, then the same tokens: each is written d steps after it was read

Tokens are drawn at random. A model is trained for each way of encoding positions and each d, at the same settings. A
sequence has the same number of labels whatever d is, and copies are as many as give the same number of labels. A guess
is right for 1 / vocabulary of the labels. Vaswani et al. 2017, section 4, compare path lengths; Bahdanau et al. 2015
introduce attention for long sources.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AT_LEAST, HOLDS, NOT_TESTED
from experiments.studies.frame.claim import MOST, Case, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import (
    ACCURACY,
    CHOICE,
    TEST,
    Baseline,
    Contrast,
    Experiment,
    Question,
    Trainee,
    held_out_batches,
)
from experiments.studies.frame.pictures import curve, finish, panels
from experiments.studies.frame.text import Text, named, same
from experiments.studies.frame.training import Sample
from experiments.studies.parts.rungs import ATTENDING, CHINESE, RNN, TRANSFORMER
from experiments.training.update import Batch
from transformer.schema import at_least, each, setting

RECALLED, DIFFERENT = 0.9, 0.05
"""Share of tokens from which on they count as recalled; least difference of shares that matters."""
KINDS = ("sinusoidal", "learned", "rotary", "relative", "alibi", "none")
"""Ways of encoding positions."""
SHARE = Text("share of tokens", "词元比例")
two_or_more = each(1, MOST, "two or more numbers that rise", lambda d: len(d) > 1 and list(d) == sorted(set(d)))


@dataclasses.dataclass(frozen=True)
class DistanceSettings(TrainedSettings):
    """Recall of a token against its distance: python -m experiments.studies distance --distance=1,32"""

    distance: tuple[int, ...] = setting((1, 32), "distances d from a token to its label (tokens)", check=two_or_more)
    labels: int = setting(16, "labels of a sequence; it has the largest d and so many tokens", check=at_least(1, MOST))
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))


COPIERS: Mapping[str, Mapping[str, Any]] = {
    RNN: {"architecture": "rnn_seq2seq", "recurrent": {"attention": "none"}},
    ATTENDING: {"architecture": "rnn_seq2seq", "num_heads": 1},
    TRANSFORMER: {"architecture": "seq2seq", "num_heads": 2, "position": "sinusoidal"},
}
"""Model settings of those that copy a source."""


def recall(batch: int, length: int, vocabulary: int, first: int) -> Sample:
    """Return a sampler whose data are d: tokens, and as labels those d before, from index `first` on."""

    def sample(key: Array, distance: Array) -> Batch:
        tokens_BT = jax.random.randint(key, (batch, length), 0, vocabulary, jnp.int32)
        index_T = jnp.arange(length)
        return {
            "target": tokens_BT,
            "labels": tokens_BT[:, jnp.maximum(index_T - distance, 0)],
            "loss_weights": jnp.broadcast_to((index_T >= first).astype(jnp.float32), tokens_BT.shape),
        }

    return sample


def copy(batch: int, distance: int, vocabulary: int) -> Sample:
    """Return a sampler without data: a source of d tokens, and the same as answer. The decoder begins with token V."""

    def sample(key: Array, data: Any) -> Batch:
        tokens_BT = jax.random.randint(key, (batch, distance), 0, vocabulary, jnp.int32)
        begin_B1 = jnp.full((batch, 1), vocabulary, jnp.int32)
        return {
            "source": tokens_BT,
            "target": jnp.concatenate([begin_B1, tokens_BT[:, :-1]], axis=1),
            "labels": tokens_BT,
            "loss_weights": jnp.ones((batch, distance), jnp.float32),
        }

    return sample


def trainee(settings: DistanceSettings, special: Mapping[str, Any], distance: int, *, copies: bool) -> Trainee:
    """Build what is trained: a model and its sequences, or its copies."""
    V, longest = settings.vocabulary, settings.distance[-1]
    length = longest + settings.labels
    shape = dict(vocab_size=V + 1, width=settings.width, num_layers=2)
    if copies:
        sample = copy(max(settings.batch * settings.labels // distance, 1), distance, V)
    else:
        shape |= {"embedding": {"scale": True}} | ({"max_length": length} if special["position"] == "learned" else {})
        sample = recall(settings.batch, length, V, longest)
    data = jnp.asarray(distance)
    return Trainee(
        transformer.build({**shape, **special}),
        sample,
        data,
        held_out_batches(sample, data, count=16, stream=CHOICE),
        held_out_batches(sample, data, count=16, stream=TEST),
        settings={"task": {"name": "copy" if copies else "recall", "distance": distance}},
        baselines={ACCURACY: Baseline(1.0 / V, Text("chance", "随机猜测"))},
    )


def arm(name: str, distance: int, *, copies: bool = False) -> str:
    """Return the name of an arm."""
    return f"{name}, copy of {distance}" if copies else f"{name}, d = {distance}"


def experiment(settings: DistanceSettings) -> Experiment:
    """Return the arms, one for each model and distance, and the claims."""
    arms = {}
    for d in settings.distance:
        for kind in KINDS:
            special = {"architecture": "decoder_only", "position": kind, "num_heads": 2}
            arms[arm(kind, d)] = functools.partial(trainee, settings, special, d, copies=False)
        for name, special in COPIERS.items():
            arms[arm(name, d, copies=True)] = functools.partial(trainee, settings, special, d, copies=True)
    return Experiment(arms, questions(settings), settings.updates)


def questions(settings: DistanceSettings) -> tuple[Question, ...]:
    """Return the claims on one sequence and on copies."""
    near, far = settings.distance[0], settings.distance[-1]
    common = dict(metric=ACCURACY, unit=SHARE)
    reaches = {kind: Contrast(same(kind), (arm(kind, far),), competent=(arm(kind, near),)) for kind in KINDS}
    any_distance = Question(
        1,
        Text("Attention recalls a token however long ago it was", "无论一个词元出现在多久以前，注意力都能回忆起它"),
        recalled_by,
        RECALLED,
        tuple(reaches.values()),
        kind=AT_LEAST,
        **common,
    )
    harder = Question(
        2,
        Text("The longer ago a token was, the worse it is recalled", "词元出现得越早，回忆得越差"),
        Text(
            f"Here d = {near} is compared with d = {far}, after the same number of updates and with as many labels. A "
            "larger distance may only take longer to learn: the first figure has the curves.",
            f"这里在相同更新次数和相同标签数下比较 d = {near} 与 d = {far}。更大的距离也可能只是学得更慢："
            "曲线见第一张图。",
        ),
        DIFFERENT,
        tuple(Contrast(same(kind), (arm(kind, near),), (arm(kind, far),), ("task.distance",)) for kind in KINDS),
        **common,
    )
    copies = {(name, d): arm(name, d, copies=True) for name in COPIERS for d in (near, far)}
    squeezed = Question(
        3,
        Text(
            "An RNN forgets: the longer the source, the less of it its last state holds",
            "RNN 会遗忘：源序列越长，最后的状态保留得越少",
        ),
        Text(
            f"Measured as the accuracy that a source of {far} tokens loses against one of {near}, without attention "
            "and "
            "with it. What a state of this size holds is learned, so the loss depends on the number of updates.",
            f"测量的是：源序列从 {near} 个词元变为 {far} 个时损失的正确率，没有注意力时比有注意力时多多少。"
            "这种大小的状态能保留什么要靠学习，因此损失量取决于更新次数。",
        ),
        DIFFERENT,
        (
            Contrast(
                Text("without attention against with it", "无注意力对有注意力"),
                (copies[RNN, near], copies[ATTENDING, far]),
                (copies[ATTENDING, near], copies[RNN, far]),
                ("model.recurrent.attention", "model.num_heads", "model.num_kv_heads", "model.head_width"),
                competent=(copies[RNN, near], copies[ATTENDING, near]),
            ),
        ),
        **common,
    )
    freed = Question(
        4,
        Text(
            "Attention frees the decoder from the distance to what it needs",
            "注意力使解码器不再受所需信息距离的限制",
        ),
        Text(
            "The state that is needed can be reached in one step. But the model must learn which state it is. The "
            "tokens "
            "are random, so only positions can tell.",
            "所需的状态一步即可到达，但模型必须学会它是哪一个。词元是随机的，因此只有位置能够区分。",
        ),
        RECALLED,
        tuple(
            Contrast(named(name, CHINESE), (copies[name, far],), competent=(copies[name, near],)) for name in COPIERS
        ),
        kind=AT_LEAST,
        **common,
    )
    return any_distance, harder, squeezed, freed


def recalled_by(cases: Sequence[Case]) -> Text:
    """Return what to say of the first claim: with which positions it holds."""
    path = Text(
        "The path is as short for every distance, but the distance must be learned, and how positions are encoded "
        "decides "
        "how quickly.",
        "任何距离的路径都一样短，但距离必须学习，学得多快取决于位置编码方式。",
    )
    if all(case.word == NOT_TESTED for case in cases):
        return path
    good = ", ".join(dict.fromkeys(case.name.en for case in cases if case.word == HOLDS))
    learned = Text(
        f" It was learned with {good}." if good else " It was learned with none of them.",
        f"学会的有：{good}。" if good else "这里没有一种学会。",
    )
    return Text(*(first + second for first, second in zip(path, learned, strict=True)))


def draw(numbers: Numbers) -> Figure:
    """Draw the share of tokens recalled against the number of updates, for each distance: sequences above copies."""
    trained = numbers["trained"]
    distances = sorted({int(name.split()[-1]) for name in trained})
    figure, grid = panels(len(distances), 2, width=3.7, height=2.9, sharey=True)
    for row, (names, copies) in zip(grid, ((KINDS, False), (tuple(COPIERS), True)), strict=True):
        for axes, d in zip(row, distances, strict=True):
            for i, name in enumerate(names):
                runs = trained.get(arm(name, d, copies=copies), {}).get("runs", {})
                if runs:
                    points = runs[max(runs, key=int)]["curve"]
                    curve(axes, points["updates"], np.asarray(points["accuracy_PR"], float), name, i)
            axes.set_ylim(-0.02, 1.05)
            title = f"{'copy' if copies else 'one sequence'}, d = {d}"
            finish(axes, title, "updates", "share of tokens right" if axes is row[0] else "")
        handles, labels = row[0].get_legend_handles_labels()
        row[0].legend(handles, labels, frameon=False, fontsize=7)
    return figure


DISTANCE = Study(
    title=Text(
        "Recall of the token that stood d positions ago: ways of encoding positions, with and without attention",
        "回忆 d 个位置之前的词元：各种位置编码，有无注意力",
    ),
    settings=DistanceSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"distance": (1, 8), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
