"""Recall by key: K pairs of a key and a value, then keys alone, each of which asks for its value.

    (b, 3) (a, 7) (c, 3) | a c a b ...        labels 7 3 7 3 ...

A pair is one token, and its embedding is learned; so the only question is what is kept of the pairs. The keys of a
sequence are all K, in random order, each with a value that is drawn anew. The models differ in what mixes the tokens:

    softmax     self-attention, one head                              keeps 2 D numbers for each token and layer
    linear      linear attention, one head; Katharopoulos et al. 2020     D² + D numbers for each layer
    GRU         Cho et al. 2014                                           D numbers for each layer

Positions are none, and the feed-forward of the GRU is narrower, so that all have as many parameters. Arora et al. 2023,
arXiv:2312.04927, compare models by recall of this kind.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AT_LEAST
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import ACCURACY, Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import curve, finish, panels, powers
from experiments.studies.frame.text import Text, same
from experiments.studies.frame.training import Sample, number_of_parameters
from experiments.studies.parts import gru, synthetic
from experiments.training.update import Batch
from transformer import Model
from transformer.schema import at_least, each, setting

SOFTMAX, LINEAR, GRU = "softmax", "linear", "GRU"
MIXERS: Mapping[str, str] = {SOFTMAX: "attention", LINEAR: "linear", GRU: gru.PATH}
"""Value of model.mixer by model."""
NAMES = {SOFTMAX: same("softmax"), LINEAR: Text("linear attention", "线性注意力"), GRU: same("GRU")}
FIXED = (LINEAR, GRU)
"""Models with a state of fixed size."""
LAYERS, VALUES, QUERIES = 2, 8, 16
"""Layers of all models, different values, and keys that ask for a value in each sequence."""
RECALLED, DIFFERENT = 0.9, 0.05
"""Share of values from which on they count as recalled; least difference of shares that matters."""
SHARE = Text("share of values", "值的比例")
rising = each(2, MOST, "two or more numbers that rise", lambda k: len(k) > 1 and list(k) == sorted(set(k)))


@dataclasses.dataclass(frozen=True)
class RecallSettings(TrainedSettings):
    """Recall by key with attention and with states of fixed size: python -m experiments.studies recall --pairs=4,64"""

    pairs: tuple[int, ...] = setting((4, 16, 64), "pairs of key and value in a sequence (K), each a case", check=rising)
    width: int = setting(32, "model width D", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))
    updates: int = updates_setting(800)


def recall(batch: int, pairs: int) -> Sample:
    """Return a sampler without data: all K keys with their values in random order, then QUERIES of the keys.

    Tokens are values, keys and pairs, in this order; labels are values.
    """

    def sample(key: Array, data: Any) -> Batch:
        for_order, for_values, for_queries = jax.random.split(key, 3)
        order_BK = jax.vmap(lambda key: jax.random.permutation(key, pairs))(jax.random.split(for_order, batch))
        value_BK = jax.random.randint(for_values, (batch, pairs), 0, VALUES, jnp.int32)
        query_BQ = jax.random.randint(for_queries, (batch, QUERIES), 0, pairs, jnp.int32)
        pair_BK = VALUES + pairs + VALUES * order_BK.astype(jnp.int32) + jnp.take_along_axis(value_BK, order_BK, axis=1)
        answer_BQ = jnp.take_along_axis(value_BK, query_BQ, axis=1)
        return {
            "target": jnp.concatenate([pair_BK, VALUES + query_BQ], axis=1),
            "labels": jnp.concatenate([jnp.zeros_like(pair_BK), answer_BQ], axis=1),
            "loss_weights": jnp.concatenate([jnp.zeros(pair_BK.shape), jnp.ones(query_BQ.shape)], axis=1),
        }

    return sample


def model_of(name: str, pairs: int, width: int) -> Model:
    """Build a model whose feed-forward is such that it has as many parameters as the one with softmax."""
    vocabulary = VALUES + pairs + VALUES * pairs

    def build(name: str, feed_forward: int) -> Model:
        shape = dict(vocab_size=vocabulary, width=width, num_layers=LAYERS, feed_forward_width=feed_forward)
        heads = {} if name == GRU else {"num_heads": 1}
        return transformer.build(
            dict(architecture="decoder_only", position="none", mixer=MIXERS[name], **heads, **shape)
        )

    same_width = build(name, 4 * width)
    missing = number_of_parameters(build(SOFTMAX, 4 * width)) - number_of_parameters(same_width)
    return build(name, 4 * width + round(missing / (LAYERS * (2 * width + 1))))


def trainee(settings: RecallSettings, name: str, pairs: int) -> Trainee:
    """Make what is trained with a row of MIXERS on so many pairs."""
    model = model_of(name, pairs, settings.width)
    task = {"name": "recall by key", "pairs": pairs, "batch": settings.batch}
    return synthetic.trainee(model, recall(settings.batch, pairs), labels=VALUES, task=task)


def arm(name: str, pairs: int) -> str:
    """Return the name of an arm."""
    return f"{name}, K = {pairs}"


def experiment(settings: RecallSettings) -> Experiment:
    """Return an arm for each model and number of pairs, and the claims."""
    arms = {
        arm(name, pairs): functools.partial(trainee, settings, name, pairs)
        for pairs in settings.pairs
        for name in MIXERS
    }
    return Experiment(arms, questions(settings), settings.updates)


def questions(settings: RecallSettings) -> tuple[Question, ...]:
    """Return the claims, with a case for each number of pairs."""
    fewest, D = settings.pairs[0], settings.width
    changes = ("model.mixer", "model.num_heads", "model.num_kv_heads", "model.head_width", "model.feed_forward_width")

    def case(name: str, pairs: int) -> Text:
        return Text(*(f"{own}, K = {pairs}" for own in NAMES[name]))

    def reaches(names: tuple[str, ...]) -> tuple[Contrast, ...]:
        return tuple(
            Contrast(case(name, pairs), (arm(name, pairs),), competent=(arm(name, fewest),))
            for name in names
            for pairs in settings.pairs
        )

    def against(name: str, pairs: int) -> Contrast:
        ours = arm(SOFTMAX, pairs)
        said = Text(*(f"{mark}{own}" for mark, own in zip(("against ", "对"), case(name, pairs), strict=True)))
        return Contrast(said, (ours,), (arm(name, pairs),), changes, (ours,))

    state = Text(
        f"The state is {D * D + D:,} numbers for each layer of linear attention and {D} for one of the GRU; {{pairs}}.",
        f"线性注意力每层的状态为 {D * D + D:,} 个数，GRU 每层为 {D} 个；{{pairs}}。",
    )
    bits = Text(
        ", ".join(f"{k} values are {3 * k} bits" for k in settings.pairs),
        "，".join(f"{k} 个值为 {3 * k} 比特" for k in settings.pairs),
    )
    return (
        Question(
            1,
            Text(
                "Attention recalls a value by its key, however many pairs there are",
                "无论有多少对键值，注意力都能按键回忆出值",
            ),
            Text(
                "The keys and values of all tokens are kept, so the state grows with the number of pairs.",
                "所有词元的键和值都被保留，因此状态随键值对的数量增长。",
            ),
            RECALLED,
            reaches((SOFTMAX,)),
            kind=AT_LEAST,
            metric=ACCURACY,
            unit=SHARE,
        ),
        Question(
            2,
            Text("A state of fixed size recalls by key too", "固定大小的状态也能按键回忆"),
            state.format(pairs=bits),
            RECALLED,
            reaches(FIXED),
            kind=AT_LEAST,
            metric=ACCURACY,
            unit=SHARE,
        ),
        Question(
            3,
            Text(
                "Attention recalls by key better than a state of fixed size",
                "注意力按键回忆优于固定大小的状态",
            ),
            Text(
                "All have the same number of parameters, so this is no matter of size. The state of each could be made "
                "larger by a larger width.",
                "各模型参数量相同，因此与参数规模无关。增大宽度可以增大各自的状态。",
            ),
            DIFFERENT,
            tuple(against(name, pairs) for name in FIXED for pairs in settings.pairs),
            metric=ACCURACY,
            unit=SHARE,
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the share of values recalled: against K, and against updates at the largest K of each model."""
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row.get("runs")}
    figure, (axes,) = panels(2, width=4.0)
    for i, name in enumerate(MIXERS):
        own = {int(at.rsplit(" ", 1)[1]): runs for at, runs in trained.items() if at.startswith(f"{name}, ")}
        if not own:
            continue
        last = {pairs: own[pairs][max(own[pairs], key=int)] for pairs in sorted(own)}
        count = min(len(run["accuracy_R"]) for run in last.values())
        curve(axes[0], list(last), np.array([run["accuracy_R"][:count] for run in last.values()], float), name, i)
        most = max(last)
        points = last[most]["curve"]
        curve(axes[1], points["updates"], np.asarray(points["accuracy_PR"], float), f"{name}, K = {most}", i)
    found = sorted({int(at.rsplit(" ", 1)[1]) for at in trained})
    powers(axes[0], found or [1, 2])
    finish(axes[0], "after the most updates", "pairs K", "share of values right")
    finish(axes[1], "at the largest K", "updates", "share of values right")
    for one in axes:
        one.axhline(1.0 / VALUES, color="black", linestyle=":", linewidth=1.0)
        one.set_ylim(-0.02, 1.05)
    if found:
        axes[0].legend(frameon=False, fontsize=8)
    return figure


RECALL = Study(
    title=Text(
        "Recall of values by their keys: softmax attention, linear attention and a GRU",
        "按键回忆值：softmax 注意力、线性注意力与 GRU",
    ),
    settings=RecallSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"pairs": (4, 16), "claims": (3,), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
