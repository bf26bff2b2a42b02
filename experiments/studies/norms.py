"""Norms: layer norm against batch norm, as batches are small and lengths vary, and beyond the trained length.

The label of a position is the token BACK positions before it. Attention has a window and positions are relative, so the
task is the same at every length. Batch norm is that of `parts.batch_norm`: per feature or per position, with padding
counted or not. `parts.norms_exact` computes the leaks of its statistics into a causal model.
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

from experiments.comparing.decision import HOLDS, NOT_TESTED, PREVIEW
from experiments.studies.frame.claim import MOST, Case, Claim, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import (
    CHOICE,
    LOSS,
    TEST,
    Baseline,
    Contrast,
    Experiment,
    Question,
    Reading,
    Trainee,
    held_out_batches,
    score_of,
    stacked_batches,
)
from experiments.studies.frame.pictures import even, finish, points
from experiments.studies.frame.text import Text, named
from experiments.studies.frame.training import Sample
from experiments.studies.parts import norms_exact
from experiments.studies.parts.batch_norm import (
    CHINESE,
    FEATURE,
    FEATURE_PADDED,
    LAYER,
    NORMS,
    POSITION,
    POSITION_PADDED,
    averages_of,
    normed_model,
)
from experiments.training.update import Batch
from transformer import Model
from transformer.models.config import ModelConfig, model_config
from transformer.ops.losses import cross_entropy
from transformer.schema import at_least, each, setting

BACK = 2
"""Positions from a token to the position whose label it is."""
NEAR = 4
"""Window of attention, to both sides: what is right within it is right at every length."""
MARGIN = 0.05
"""Least difference that matters (nats per token)."""
LONGER = 4
"""Length at test beyond the trained one, in units of it."""
AVERAGED, POOLED = 4, 32
"""Streams of batches: of the averages; and number of those batches."""
two_sizes = each(2, MOST, "two or more numbers that rise", lambda x: len(x) > 1 and list(x) == sorted(set(x)))


@dataclasses.dataclass(frozen=True)
class NormsSettings(TrainedSettings):
    """Layer norm and batch norm: python -m experiments.studies norms --batches=8,64"""

    length: int = setting(16, "longest sequence in training (T, tokens)", check=at_least(2 * BACK + 2, MOST))
    batches: tuple[int, ...] = setting((8, 64), "sequences per update (B), each a case", check=two_sizes)
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    updates: int = updates_setting(400)


def recall(batch: int, length: int, vocabulary: int, *, full: bool = False) -> Sample:
    """Return a sampler whose data is the shortest length; lengths are drawn evenly up to `length`, or all are (`full`).

    Labels are the tokens BACK positions before; the first positions have none. Padding is token 0, one of the others.
    """

    def sample(key: Array, shortest: Array) -> Batch:
        for_tokens, for_lengths = jax.random.split(key)
        tokens_BT = jax.random.randint(for_tokens, (batch, length), 0, vocabulary, jnp.int32)
        lengths_B = jax.random.randint(for_lengths, (batch,), length if full else shortest, length + 1, jnp.int32)
        index_T = jnp.arange(length)
        inside_BT = index_T < lengths_B[:, None]
        tokens_BT = jnp.where(inside_BT, tokens_BT, 0)
        labels_BT = tokens_BT[:, jnp.maximum(index_T - BACK, 0)]
        weights_BT = (inside_BT & (index_T >= BACK)).astype(jnp.float32)
        return {"source": tokens_BT, "source_lengths": lengths_B, "labels": labels_BT, "loss_weights": weights_BT}

    return sample


def trainee(settings: NormsSettings, norm: str, batch: int, shortest: int) -> Trainee:
    """Make what is trained with a row of NORMS; it is scored with averages over POOLED batches."""
    T, V = settings.length, settings.vocabulary
    config: ModelConfig = model_config(
        dict(
            architecture="encoder_only",
            vocab_size=V,
            width=settings.width,
            num_heads=2,
            position="relative",
            window=NEAR,
        )
    )
    model = normed_model(config, NORMS[norm])
    data, sample = jnp.asarray(shortest), recall(batch, T, V)
    pool = stacked_batches(held_out_batches(sample, data, count=POOLED, stream=AVERAGED))
    (beyond,) = held_out_batches(recall(64, LONGER * T, V, full=True), data, count=1, stream=TEST)

    def prepare(model: Model, params: Any) -> Any:
        return params, averages_of(model, params, pool, LONGER * T)

    def extra(model: Model, params: Any) -> Mapping[str, Array]:
        nats, labels = nats_of(model, prepare(model, params), beyond)[LOSS]
        return {"longer": nats / labels}

    checked = recall(32, T, V)
    test = held_out_batches(checked, data, count=16, stream=TEST)
    return Trainee(
        model,
        sample,
        data,
        held_out_batches(checked, data, count=16, stream=CHOICE),
        test,
        settings={"batch": batch, "norm": norm, "shortest": shortest, "length": T},
        baselines={LOSS: Baseline(without_order(test, V), Text("labels without their order", "不计顺序的标签"))},
        score=nats_of,
        prepare=prepare,
        extra=extra,
    )


def without_order(batches: Sequence[Batch], vocabulary: int) -> float:
    """Compute the loss of predicting each label by its share of the labels of its own sequence (nats per token)."""
    nats, labels = 0.0, 0.0
    for batch in batches:
        weights_BT = np.asarray(batch["loss_weights"])
        counts_BV = np.sum(weights_BT[..., None] * np.eye(vocabulary)[np.asarray(batch["labels"])], axis=1)
        shares_BV = counts_BV / counts_BV.sum(1, keepdims=True)
        nats -= float(np.sum(counts_BV * np.log(shares_BV, where=counts_BV > 0, out=np.zeros_like(shares_BV))))
        labels += float(counts_BV.sum())
    return nats / labels


def nats_of(model: Model, prepared: Any, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Compute the nats of a batch, normalised with averages."""
    params, averages = prepared
    out = model.module.apply({"params": params}, batch, averages=averages, learn=None)
    weights = batch["loss_weights"]
    return {LOSS: (jnp.sum(cross_entropy(out["logits"], batch["labels"]) * weights), jnp.sum(weights))}


def arm(norm: str, batch: int, shortest: int, length: int) -> str:
    """Return the name of an arm."""
    return f"{norm}, B = {batch}, {shortest} to {length}" if shortest < length else f"{norm}, B = {batch}, all {length}"


def experiment(settings: NormsSettings) -> Experiment:
    """Return an arm for each norm, batch and range of lengths, and the claims."""
    T = settings.length
    varied = BACK + 1
    arms = {
        arm(norm, batch, shortest, T): functools.partial(trainee, settings, norm, batch, shortest)
        for norm in NORMS
        for batch in settings.batches
        for shortest in (T, varied)
    }
    return Experiment(arms, questions(settings, varied), settings.updates)


def questions(settings: NormsSettings, varied: int) -> tuple[Question, ...]:
    """Return the claims that trained models decide."""
    T, few = settings.length, settings.batches[0]

    def name(norm: str, batch: int, shortest: int = varied) -> str:
        return arm(norm, batch, shortest, T)

    def case(batch: int, shortest: int) -> Text:
        if shortest == T:
            return Text(f"B = {batch}, all of {T} tokens", f"B = {batch}，全部 {T} 个词元")
        return Text(f"B = {batch}, {shortest} to {T} tokens", f"B = {batch}，{shortest} 至 {T} 个词元")

    def layer_against(norm: str, batch: int, shortest: int) -> Contrast:
        return Contrast(
            case(batch, shortest),
            (name(LAYER, batch, shortest),),
            (name(norm, batch, shortest),),
            ("norm",),
            (name(LAYER, batch, shortest),),
        )

    def grows(norm: str, batch: int) -> Contrast:
        ours, others = (name(LAYER, batch), name(norm, batch, T)), (name(norm, batch), name(LAYER, batch, T))
        return Contrast(
            Text(f"{norm}, B = {batch}", f"{CHINESE[norm]}，B = {batch}"), ours, others, ("norm",), (ours[0], others[1])
        )

    def uncounted(norm: str, padded: str) -> Contrast:
        return Contrast(
            Text(f"{norm}, B = {few}", f"{CHINESE[norm]}，B = {few}"),
            (name(norm, few),),
            (name(padded, few),),
            ("norm",),
            (name(LAYER, few),),
        )

    per_feature = tuple(layer_against(FEATURE, b, s) for b in settings.batches for s in (T, varied))
    return (
        Question(1, SAID[1], INSTEAD[1], MARGIN, per_feature),
        Question(2, SAID[2], INSTEAD[2], MARGIN, (grows(FEATURE, few), grows(POSITION, few))),
        Question(
            3, SAID[3], INSTEAD[3], MARGIN, (uncounted(FEATURE, FEATURE_PADDED), uncounted(POSITION, POSITION_PADDED))
        ),
        Question(
            4,
            SAID[4],
            INSTEAD[4],
            MARGIN,
            tuple(layer_against(norm, few, varied)._replace(name=named(norm, CHINESE)) for norm in (FEATURE, POSITION)),
            reading=Reading(
                fall, Text("loss at the trained lengths, less that at 4 T", "训练长度下的损失减去 4T 时的损失")
            ),
        ),
    )


def fall(lane: Mapping[str, Any]) -> float:
    """Return the loss at the trained lengths, less that at LONGER times the longest."""
    return score_of(lane, LOSS) - float(lane["extra"]["longer"])


SAID = {
    1: Text(
        "Batch norm (per feature, of what is no padding) is worse than layer norm",
        "批归一化（按特征，不计填充）不如层归一化",
    ),
    2: Text("Batch norm is worse because lengths vary within a batch", "批归一化更差是因为一批之内长度不一"),
    3: Text("Batch norm suffers where padding is counted in its statistics", "统计量计入填充时，批归一化变差"),
    4: Text("Batch norm fails at lengths that training did not have", "在训练中没有的长度上，批归一化失效"),
}


def where_worse(cases: Sequence[Case]) -> Text:
    """Return what to say of the first claim: in which cases batch norm is worse."""
    chosen = Text("With the learning rate chosen for each norm", "为每种归一化选择学习率时")
    if all(case.word in (NOT_TESTED, PREVIEW) for case in cases):
        return Text(f"{chosen.en}, the cases decide.", f"{chosen.zh}，由各情形决定。")
    worse = [case.name for case in cases if case.word == HOLDS]
    if not worse:
        return Text(f"{chosen.en}, it is worse in none of these cases.", f"{chosen.zh}，它在这些情形中都不更差。")
    names = Text(*("; ".join(dict.fromkeys(name[i] for name in worse)) for i in (0, 1)))
    return Text(
        f"{chosen.en}, it is worse in these cases alone: {names.en}.",
        f"{chosen.zh}，它只在这些情形中更差：{names.zh}。",
    )


INSTEAD: Mapping[int, Any] = {
    1: where_worse,
    2: Text(
        "The case is a difference of differences: what batch norm loses against layer norm with varied lengths, less "
        "what it loses with equal ones.",
        "这里比较的是差之差：长度不一时批归一化相对层归一化的损失，减去长度相同时的。",
    ),
    3: Text(
        "All padding rows are the same. The more of them, the more they change mean and variance; whether that costs "
        "anything is measured.",
        "所有填充行都相同。它们越多，对均值和方差的改变越大；这是否有代价由测量决定。",
    ),
    4: Text(
        f"Attention reaches {NEAR - 1} tokens to either side, so the task is the same at every length, and only "
        "statistics can be wrong. Per position there are no averages beyond the trained length; per feature those of "
        "training are used.",
        f"注意力只看左右各 {NEAR - 1} 个词元，因此任何长度下任务都相同，只有统计量可能出错。"
        "按位置的统计在训练长度之外没有平均值；按特征则使用训练时的平均值。",
    ),
}


def measure(settings: NormsSettings) -> Numbers:
    """Compute the leaks of the statistics into a causal model."""
    return {"leaks": norms_exact.measure(norms_exact.NormsExactSettings())}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claim on leaks."""
    return [norms_exact.judge(numbers["leaks"], 5)]


def draw(numbers: Numbers) -> Figure:
    """Draw the losses of the norms, and the gradients of causal models."""
    figure = Figure(figsize=(11.5, 6.8), layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row["runs"]}
    for axes, order in zip(upper.subplots(1, 2), (min, max), strict=True):
        runs = {name: row[order(row, key=int)] for name, row in trained.items()}
        if runs:
            points(axes, *even({name: run["loss_R"] for name, run in runs.items()}), low=1e-5)
            updates = max(int(order(row, key=int)) for row in trained.values())
            finish(axes, f"{updates:,} updates", "held-out loss (nats per token)", "")
    norms_exact.draw_panels(lower.subplots(1, 3), numbers["leaks"])
    return figure


NORMS_STUDY = Study(
    title=Text(
        "Layer norm and batch norm, with small batches and varied lengths, beyond the trained length, and in a "
        "causal model",
        "层归一化与批归一化：小批、长度不一、超出训练长度，以及因果模型",
    ),
    settings=NormsSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "claims": (1,)},
)
