"""Heads: their number at one width and number of parameters, what they attend to, and what each contributes.

N heads of H = D / N each. Vaswani et al. 2017, table 3 (A), vary N likewise.
Switching off: Michel et al. 2019, https://arxiv.org/abs/1905.10650; the head's output becomes zero.
Overlap of two heads: sum over s of min(weight, weight'), 1 where their weights are equal. See also `parts.projections`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AT_LEAST
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Reading, Trainee, held_out_batches
from experiments.studies.frame.pictures import COLOURS, curve, even, finish, panels, points, powers
from experiments.studies.frame.text import Text, same
from experiments.studies.parts import heads_exact, projections, text
from experiments.training.update import Batch
from transformer import Model
from transformer.ops.losses import cross_entropy
from transformer.schema import at_least, each, setting

LAYERS, WAY_HEADS = 2, 4
"""Layers of all models, and heads of those with different projections."""
WEIGHTS = "decoder.*.self.weights"
MARGIN, APART = 0.02, 0.1
"""Least difference that matters (nats per byte), and least fall of the overlap of two heads by training."""
PROBE = 5
"""Stream of the held-out windows on which heads are switched off."""
HEAD_SETTINGS = ("model.num_heads", "model.num_kv_heads", "model.head_width")
counts = each(1, MOST, "two or more numbers that rise", lambda n: len(n) > 1 and list(n) == sorted(set(n)))


@dataclasses.dataclass(frozen=True)
class HeadsSettings(TrainedSettings):
    """Number of heads at one width: python -m experiments.studies heads --heads=1,4,16"""

    heads: tuple[int, ...] = setting((1, 2, 4, 8, 16), "numbers of heads N, each of which divides D", check=counts)
    width: int = setting(64, "model width D", check=at_least(1, MOST))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def shape_of(settings: HeadsSettings) -> dict[str, int]:
    """Return the settings that all models share."""
    D = settings.width
    return dict(vocab_size=text.VOCABULARY, num_layers=LAYERS, width=D, feed_forward_width=4 * D)


def arm(count: int) -> str:
    """Return the name of the arm of so many heads."""
    return f"{count} heads" if count > 1 else "1 head"


def experiment(settings: HeadsSettings) -> Experiment:
    """Return an arm for each number of heads and each way of projecting, and the claims."""

    def model(count: int) -> Model:
        return transformer.build(
            dict(architecture="decoder_only", num_heads=count, position="rotary", **shape_of(settings))
        )

    def with_heads(count: int) -> Trainee:
        return watched(text.trainee(model(count), settings), settings)

    arms: dict[str, Callable[[], Trainee]] = {arm(n): functools.partial(with_heads, n) for n in settings.heads}
    for way in projections.WAYS:
        arms[way] = functools.partial(projecting, way, settings)
    return Experiment(arms, questions(settings), settings.updates)


def watched(trainee: Trainee, settings: HeadsSettings) -> Trainee:
    """Add the readings of single heads."""
    check = jnp.asarray(text.corpus(settings.text)[1])
    (batch,) = held_out_batches(text.windows(256, text.WINDOW), check, count=1, stream=PROBE)
    return dataclasses.replace(trainee, extra=lambda model, params: single_heads(model, params, batch))


def projecting(way: str, settings: HeadsSettings) -> Trainee:
    """Make what is trained with a way of projecting."""
    model = projections.model_of(way, heads=WAY_HEADS, **shape_of(settings))
    return text.trainee(model, settings, side="source", task={"way": way})


def single_heads(model: Model, params: Any, batch: Batch) -> dict[str, Array]:
    """Compute the loss that each head's absence adds, added_LN, where it attends, and how much heads overlap.

    `distance_LN` is the mean distance back of its weight (tokens), `shared_L` and `untrained_L` the mean overlap of two
    heads of a layer, trained and with initial parameters; 1 where there is one head.
    """
    found = switched_off(model, params, batch)
    untrained = attention_statistics(model, model.init(jax.random.key(0)), batch)
    return {**found, **attention_statistics(model, params, batch), "untrained_L": untrained["shared_L"]}


def attention_statistics(model: Model, params: Any, batch: Batch) -> dict[str, Array]:
    """Compute the mean distance back of each head's weight, distance_LN (tokens), and the mean overlap, shared_L."""
    few = {name: x[:32] for name, x in batch.items()}
    weights_LBNTS = model.apply(params, few, capture=(WEIGHTS,))["captured"][WEIGHTS]
    N, T = weights_LBNTS.shape[2:4]
    back_TS = jnp.arange(T)[:, None] - jnp.arange(T)
    distance_LN = jnp.sum(weights_LBNTS * back_TS, axis=-1).mean((1, 3))

    def overlap(i: Array) -> Array:
        return jnp.minimum(weights_LBNTS, jnp.roll(weights_LBNTS, i, axis=2)).sum(-1).mean((1, 2, 3))

    shared_L = jax.lax.map(overlap, jnp.arange(1, N)).mean(0) if N > 1 else jnp.ones(LAYERS, jnp.float32)
    return {"distance_LN": distance_LN, "shared_L": shared_L}


def switched_off(model: Model, params: Any, batch: Batch) -> dict[str, Array]:
    """Compute the loss that is added where each head of each layer is switched off, added_LN (nats per byte).

    The head's part of the output projection is set to zero, which is the same as a head whose output is zero.
    """
    N = model.config.num_heads
    leaves, structure = jax.tree.flatten(params)
    axes = structure.flatten_up_to(model.parameter_axes(params))
    (kernel_index,) = (i for i, a in enumerate(axes) if a.letters == ("L", "N", "H", "D"))

    def loss_of(changed: Any) -> Array:
        logits = model.apply(changed, batch)["logits"]
        return jnp.mean(cross_entropy(logits, batch["labels"]))

    def without(i: Array) -> Array:
        kernel = leaves[kernel_index].at[i // N, i % N].set(0.0)
        return loss_of(structure.unflatten([*leaves[:kernel_index], kernel, *leaves[kernel_index + 1 :]]))

    off = jax.lax.map(without, jnp.arange(LAYERS * N))
    return {"added_LN": off.reshape(LAYERS, N) - loss_of(params)}


def least_needed(lane: Mapping[str, Any]) -> float:
    """Return the loss that the absence of the least needed head adds."""
    return float(np.min(lane["extra"]["added_LN"]))


def fall_of_overlap(lane: Mapping[str, Any]) -> float:
    """Return the mean overlap of two untrained heads, less that of two trained ones."""
    return float(np.mean(lane["extra"]["untrained_L"]) - np.mean(lane["extra"]["shared_L"]))


def questions(settings: HeadsSettings) -> tuple[Question, ...]:
    """Return the claims that trained models decide."""
    first, *more = settings.heads
    several = [Contrast(against(n, first), (arm(n),), (arm(first),), HEAD_SETTINGS) for n in more]
    steps = [
        Contrast(against(b, a), (arm(b),), (arm(a),), HEAD_SETTINGS) for a, b in itertools.pairwise(settings.heads)
    ]
    each_of = tuple(Contrast(same(f"N = {n}"), (arm(n),)) for n in settings.heads if n > 1)
    unit = Text("nats per byte", "奈特每字节")
    linear = projections.LINEAR
    ways = {way: Contrast(NAMES[way], (linear,), (way,), ("task.way", "model.feed_forward_width")) for way in NAMES}
    return (
        Question(1, SAID[1], INSTEAD[1], MARGIN, tuple(several), unit=unit),
        Question(2, SAID[2], INSTEAD[2], MARGIN, tuple(steps), unit=unit),
        Question(3, SAID[3], INSTEAD[3], MARGIN, each_of, AT_LEAST, unit=unit, reading=Reading(least_needed, LEAST)),
        Question(4, SAID[4], INSTEAD[4], APART, each_of, AT_LEAST, unit=SHARE, reading=Reading(fall_of_overlap, FALL)),
        Question(6, SAID[6], INSTEAD[6], MARGIN, (ways[projections.NONE], ways[projections.NO_OUTPUT]), unit=unit),
        Question(
            7,
            SAID[7],
            INSTEAD[7],
            MARGIN,
            (Contrast(NAMES_MLP, (projections.MLP,), (linear,), ("task.way", "model.feed_forward_width")),),
            unit=unit,
        ),
    )


def against(ours: int, others: int) -> Text:
    """Format the case of two numbers of heads."""
    return Text(f"{arm(ours)} against {others}", f"{ours} 头对 {others} 头")


NAMES = {
    projections.NONE: Text("linear against no projections at all", "线性投影对完全没有投影"),
    projections.NO_OUTPUT: Text("linear against no output projection", "线性投影对没有输出投影"),
}
NAMES_MLP = Text("MLP against linear", "MLP 对线性投影")
SHARE = Text("share of the weight", "权重比例")
LEAST = Text(
    "loss that is added when the least needed head of a model is switched off", "关闭模型中最不需要的头所增加的损失"
)
FALL = Text(
    "overlap of two heads of a layer before training, less that after it", "同一层两个头的权重重叠：训练前减去训练后"
)
SAID = {
    1: Text("Several heads are better than one of the same width in all", "总宽度相同时，多头优于单头"),
    2: Text("The more heads, the better", "头越多越好"),
    3: Text("Every head is needed", "每个头都是必需的"),
    4: Text("Different heads attend to different things", "不同的头关注不同的内容"),
    6: Text("Multi-head attention needs its projections", "多头注意力需要它的投影"),
    7: Text("An MLP after the concatenation is better than a linear map", "拼接之后用 MLP 优于线性映射"),
}
INSTEAD = {
    1: Text(
        "At one width, more heads are narrower heads. Whether that helps depends on the width, the data and the number "
        "of updates; each case has its own word.",
        "总宽度不变时，头越多每个头越窄。是否有益取决于宽度、数据和更新次数；每种情形各有结论。",
    ),
    2: Text("Each step has a word of its own.", "每一步各有结论。"),
    3: Text(
        "This is measured on models that are not trained again without the head.",
        "测量时模型没有在去掉该头之后重新训练。",
    ),
    4: Text(
        "This measures only where heads look, not how useful they are.",
        "这只衡量各个头关注哪里，不衡量它们有多大用处。",
    ),
    6: Text(
        "All have the same number of parameters. The feed-forward layer that follows combines the entries of the heads "
        "too.",
        "各模型参数量相同。其后的前馈网络同样会混合各个头的输出。",
    ),
    7: Text(
        "The feed-forward layer of the block, with its own residual connection, follows directly.",
        "紧随其后的就是该块带残差连接的前馈网络。",
    ),
}


def measure(settings: HeadsSettings) -> Numbers:
    """Compute the numbers of the claim on concatenated heads."""
    return {"concatenated": heads_exact.measure()}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claim on concatenated heads."""
    return [heads_exact.judge(numbers["concatenated"], 5)]


def draw(numbers: Numbers) -> Figure:
    """Draw the loss against N, the loss that heads add, their overlap, and the ways of projecting."""
    figure, grid = panels(2, 2, width=4.2)
    trained = numbers["trained"]
    heads = {n: trained[arm(n)]["runs"] for n in range(1, MOST) if trained.get(arm(n), {}).get("runs")}
    for i, updates in enumerate(sorted({int(u) for runs in heads.values() for u in runs})):
        rows = {n: np.asarray(runs[str(updates)]["loss_R"], float) for n, runs in heads.items() if str(updates) in runs}
        count = min(map(len, rows.values()))
        base = rows[min(rows)][:count]
        curve(grid[0, 0], list(rows), np.stack([base - x[:count] for x in rows.values()]), f"{updates:,} updates", i)
    powers(grid[0, 0], list(heads) or [1, 2])
    grid[0, 0].axhspan(-MARGIN, MARGIN, color="grey", alpha=0.2, linewidth=0)
    finish(
        grid[0, 0],
        f"N heads against {min(heads, default=1)} (band: margin)",
        "heads N",
        "how much better (nats per byte)",
        legend=bool(heads),
    )
    for n, runs in heads.items():
        extra = runs[max(runs, key=int)]["extra"]
        added = np.sort(np.asarray(extra["added_LN"], float).mean(0).ravel())
        grid[0, 1].plot([n] * len(added), added, "o", color=COLOURS[0], alpha=0.6, markersize=4)
        for key, colour, label in (("untrained_L", "grey", "untrained"), ("shared_L", COLOURS[0], "trained")):
            values = np.asarray(extra[key], float).mean(0)
            if n > 1:
                grid[1, 0].plot(
                    [n] * len(values), values, "o", color=colour, label=label if n == min(set(heads) - {1}) else None
                )
    for axes in (grid[0, 1], grid[1, 0]):
        powers(axes, list(heads) or [1, 2])
    finish(grid[0, 1], "one head switched off (a point a head)", "heads N", "added loss (nats per byte)")
    finish(
        grid[1, 0],
        "overlap of two heads (a point a layer)",
        "heads N",
        "share of weight in common",
        legend=len(heads) > 1,
    )
    ways = {way: trained[way]["runs"] for way in projections.WAYS if trained.get(way, {}).get("runs")}
    points(grid[1, 1], *even({way: next(iter(runs.values()))["loss_R"] for way, runs in ways.items()}))
    finish(grid[1, 1], "projections, at equal parameters", "held-out loss (nats per byte)", "")
    return figure


HEADS = Study(
    title=Text(
        "Number of heads at one width, what they attend to, what each contributes, and their projections",
        "固定宽度下头的数量、各个头关注什么、各有多大贡献，以及它们的投影",
    ),
    settings=HeadsSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"heads": (1, 4), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
