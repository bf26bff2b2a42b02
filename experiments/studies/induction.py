"""Induction: continue a sequence that repeats itself, with one layer of attention and with two.

    a b c d | a b c d | a b ...        the label of each token is the next one; counted from the second copy on

A copy is of p different tokens in random order, and p is drawn for each sequence. So neither the token nor the distance
alone tells what follows: a head must find the token after the last occurrence of the present one. Two layers can do
it by two heads: one reads the token before, the other matches the present token with what that one has read (Elhage
et al. 2021, https://transformer-circuits.pub/2021/framework; Olsson et al. 2022, arXiv:2209.11895).

    prefix matching of a head     its mean weight on tokens that follow an occurrence of the present token
    previous token                its mean weight on the token before

Models are of attention alone: no feed-forward.
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
from experiments.studies.frame.experiment import (
    LOSS,
    TEST,
    Contrast,
    Experiment,
    Question,
    Reading,
    Trainee,
    held_out_batches,
    score_of,
)
from experiments.studies.frame.pictures import COLOURS, MARKERS, curve, finish, panels
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import Sample
from experiments.studies.parts import synthetic
from experiments.training.update import Batch
from transformer import Model
from transformer.schema import at_least, setting

ONE, TWO = "1 layer", "2 layers"
LAYERS = {ONE: 1, TWO: 2}
"""Layers by arm."""
SOLVED, MATCHES = 0.1, 0.5
"""Loss of the second copy below which it is continued (nats per token), and least prefix matching of the best head."""
WEIGHTS = "decoder.*.self.weights"
NAMES = {ONE: Text("1 layer", "1 层"), TWO: Text("2 layers", "2 层")}


@dataclasses.dataclass(frozen=True)
class InductionSettings(TrainedSettings):
    """One layer of attention and two on repeated tokens: python -m experiments.studies induction --width=32"""

    length: int = setting(48, "sequence length T (tokens), at least twice the longest copy", check=at_least(8, MOST))
    vocabulary: int = setting(24, "different tokens (V), and most tokens of a copy", check=at_least(4, MOST))
    width: int = setting(64, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))
    updates: int = updates_setting(2000)


def repeated(batch: int, length: int, vocabulary: int) -> Sample:
    """Return a sampler without data: copies of p tokens, V / 3 to V of them; labels count from the second copy on."""

    def sample(key: Array, data: Any) -> Batch:
        for_tokens, for_period = jax.random.split(key)
        order = jax.vmap(lambda key: jax.random.permutation(key, vocabulary))(jax.random.split(for_tokens, batch))
        period_B1 = jax.random.randint(for_period, (batch, 1), max(vocabulary // 3, 2), vocabulary + 1, jnp.int32)
        index_T = jnp.arange(length + 1)
        tokens = jnp.take_along_axis(order.astype(jnp.int32), index_T % period_B1, axis=1)
        weights_BT = (index_T[:-1] >= period_B1).astype(jnp.float32)
        return {"target": tokens[:, :-1], "labels": tokens[:, 1:], "loss_weights": weights_BT}

    return sample


def heads_of(model: Model, params: Any, batch: Batch) -> dict[str, Array]:
    """Compute the prefix matching of each head, matching_LN, and its weight on the token before, previous_LN."""
    weights_LBNTS = model.apply(params, batch, capture=(WEIGHTS,))["captured"][WEIGHTS]
    tokens_BT, counted_BT = batch["target"], batch["loss_weights"]
    before_BS = jnp.pad(tokens_BT[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    follows_BTS = (tokens_BT[:, :, None] == before_BS[:, None]).astype(jnp.float32)
    index_T = jnp.arange(tokens_BT.shape[1])
    previous_BTS = jnp.broadcast_to((index_T[:, None] - 1 == index_T).astype(jnp.float32), follows_BTS.shape)

    def share(keys_BTS: Array) -> Array:
        return jnp.einsum("LBNTS,BTS,BT->LN", weights_LBNTS, keys_BTS, counted_BT) / jnp.sum(counted_BT)

    return {"matching_LN": share(follows_BTS), "previous_LN": share(previous_BTS)}


def trainee(settings: InductionSettings, layers: int) -> Trainee:
    """Make what is trained with so many layers."""
    shape = dict(vocab_size=settings.vocabulary, width=settings.width, num_layers=layers, num_heads=4)
    model = transformer.build(
        dict(architecture="decoder_only", position="relative", feed_forward_width=0, embedding={"scale": True}, **shape)
    )
    sample = repeated(settings.batch, settings.length, settings.vocabulary)
    (probe,) = held_out_batches(repeated(64, settings.length, settings.vocabulary), None, count=1, stream=TEST)
    return synthetic.trainee(
        model,
        sample,
        labels=settings.vocabulary,
        task={"name": "repeated", "length": settings.length, "batch": settings.batch},
        extra=lambda model, params: heads_of(model, params, probe),
    )


def experiment(settings: InductionSettings) -> Experiment:
    """Return an arm for each number of layers, and the claims."""
    arms = {name: functools.partial(trainee, settings, layers) for name, layers in LAYERS.items()}
    return Experiment(arms, QUESTIONS, settings.updates)


def minus_loss(lane: Mapping[str, Any]) -> float:
    """Return the loss of the second copy with a minus sign: more is better."""
    return -score_of(lane, LOSS)


def best_matching(lane: Mapping[str, Any]) -> float:
    """Return the prefix matching of the head that has the most."""
    return float(np.max(lane["extra"]["matching_LN"]))


EACH = tuple(Contrast(NAMES[name], (name,), competent=(TWO,)) for name in LAYERS)
QUESTIONS = (
    Question(
        1,
        Text("Attention alone continues a sequence that repeats itself", "仅靠注意力就能续写重复的序列"),
        Text(
            "The distance of the copies differs from sequence to sequence, so the next token must be found by content.",
            "各序列中副本之间的距离不同，因此必须按内容找到下一个词元。",
        ),
        -SOLVED,
        EACH,
        kind=AT_LEAST,
        reading=Reading(
            minus_loss,
            Text("minus the loss from the second copy on (nats per token)", "第二个副本起的损失取负（奈特每词元）"),
        ),
    ),
    Question(
        2,
        Text("Induction needs the second layer", "归纳头需要第二层"),
        Text(
            "Both have the same width and number of heads; the second layer also adds parameters. What it adds beside "
            "them is that one head reads what another has written.",
            "两者宽度和头数相同；第二层也增加了参数。除此之外，它使一个头能读取另一个头写入的内容。",
        ),
        SOLVED,
        (Contrast(Text("2 layers against 1", "2 层对 1 层"), (TWO,), (ONE,), ("model.num_layers",), (TWO,)),),
    ),
    Question(
        3,
        Text(
            "Some head attends to what followed the present token before",
            "有的头关注当前词元上次出现之后的词元",
        ),
        Text(
            "Prefix matching of the best head: its mean weight on all tokens that follow an occurrence of the present "
            "one. The weights show where the head looks; claims 1 and 2 show what the model can do.",
            "最佳头的前缀匹配：它在当前词元各次出现之后的词元上的平均权重。权重只表明头看向哪里；"
            "第 1、2 条表明模型能做什么。",
        ),
        MATCHES,
        EACH,
        kind=AT_LEAST,
        unit=Text("share of the weight", "权重比例"),
        reading=Reading(best_matching, Text("prefix matching of the best head", "最佳头的前缀匹配")),
    ),
)
"""The claims; all of them are fixed before the runs."""


def draw(numbers: Numbers) -> Figure:
    """Draw the loss of both models against updates, and where their heads attend."""
    figure, (axes,) = panels(2, width=4.2)
    for i, name in enumerate(LAYERS):
        runs = numbers["trained"].get(name, {}).get("runs", {})
        if not runs:
            continue
        run = runs[max(runs, key=int)]
        curve(axes[0], run["curve"]["updates"], np.asarray(run["curve"]["loss_PR"], float), name, i)
        scores = [np.asarray(run["extra"][key], float) for key in ("previous_LN", "matching_LN")]
        for layer in range(scores[0].shape[1]):
            x, y = (score[:, layer].ravel() for score in scores)
            style = dict(marker=MARKERS[layer], color=COLOURS[i], linestyle="none", alpha=0.6, markersize=5)
            axes[1].plot(x, y, label=f"{name}: layer {layer + 1}", **style)
    axes[0].axhline(SOLVED, color="black", linestyle=":", linewidth=1.0)
    finish(axes[0], "from the second copy on (dotted: 0.1)", "updates", "held-out loss (nats per token)")
    finish(axes[1], "heads, all seeds", "weight on the token before", "prefix matching (share of weight)")
    for one in axes:
        if one.get_legend_handles_labels()[0]:
            one.legend(frameon=False, fontsize=8)
    return figure


INDUCTION = Study(
    title=Text(
        "Induction: one layer of attention and two on sequences that repeat themselves",
        "归纳头：重复序列上的一层与两层注意力",
    ),
    settings=InductionSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"claims": (2,), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
