"""Positions: codes that are bounded or not, and the loss beyond the trained length.

    raw index    code[p] = p u          index / T    code[p] = p u / T          u = (1, -1, 1, -1, ...)
    sinusoids    of Vaswani et al. 2017, at most 1; and the same times T, as large as the raw index

u has mean zero, since a layer norm removes the mean of all entries. T is the trained length. Size and bound are two
factors: each is varied at either value of the other. The loss that a longer window adds is measured on the same bytes,
read once in a long window and once at the end of windows of T: bytes differ by more than positions do. Vaswani et al.
2017, section 3.5, offer as a hypothesis that sinusoids extend to longer sequences.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AT_LEAST
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import KEPT, Contrast, Experiment, Question, Trainee, token_scores
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text, against, same
from experiments.studies.parts import text
from experiments.training.update import Batch
from transformer import Model
from transformer.ops.losses import cross_entropy
from transformer.ops.positions import sinusoidal
from transformer.schema import at_least, multiple, setting

FURTHER = 4
"""Length at test / trained length."""
MARGIN = 0.02
"""Least difference that matters (nats per byte)."""
UNIT = Text("nats per byte", "奈特每字节")
even_lengths, eights = multiple(4, 4, MOST), multiple(8, 8, MOST)


@dataclasses.dataclass(frozen=True)
class PositionsSettings(TrainedSettings):
    """Training with each way of encoding positions: python -m experiments.studies positions --length=64"""

    length: int = setting(64, "bytes of a training window (T); test windows are four times as long", check=even_lengths)
    width: int = setting(64, "model width D", check=eights)
    batch: int = setting(8, "windows per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)
    updates: int = updates_setting(2000)


@dataclasses.dataclass(frozen=True)
class FixedCode(Model):
    """A model whose table of positions is a fixed code: (P, D, T) -> P D, where T is the trained length."""

    code: Callable[[int, int, int], Array]
    trained_length: int

    def apply(self, params: Any, batch: Any, **options: Any) -> dict[str, Any]:
        """Apply the model with the code as its table of positions; see `Model.apply`."""
        table_PD = self.code(self.config.max_length, self.config.width, self.trained_length)
        return super().apply({**params, "input": {"positions": {"table": table_PD}}}, batch, **options)


def _raw_index(length: int, width: int, trained: int) -> Array:
    return jnp.arange(length, dtype=jnp.float32)[:, None] * jnp.where(jnp.arange(width) % 2, -1.0, 1.0)


def _share(length: int, width: int, trained: int) -> Array:
    return _raw_index(length, width, trained) / trained


def _waves(length: int, width: int, trained: int) -> Array:
    return sinusoidal(jnp.arange(length), width)


def _large_waves(length: int, width: int, trained: int) -> Array:
    return trained * _waves(length, width, trained)


RAW, SHARE, WAVES, LARGE = "raw index", "index / T", "sinusoids", "sinusoids x T"
CODES: Mapping[str, Callable[[int, int, int], Array]] = {
    WAVES: _waves,
    SHARE: _share,
    LARGE: _large_waves,
    RAW: _raw_index,
}
"""Fixed codes that are added to embeddings: bounded or not, of either size."""
CHINESE = {WAVES: "正弦编码", LARGE: "正弦编码 x T", SHARE: "下标 / T", RAW: "下标"}
"""Names of the codes in Chinese."""
KINDS = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
"""Rows of POSITIONS that are tested beyond the trained length."""


def model_of(name: str, length: int, width: int) -> Model:
    """Build a language model with a row of CODES or of POSITIONS, for up to FURTHER times the length."""
    shape = dict(architecture="decoder_only", vocab_size=text.VOCABULARY, num_layers=2, width=width, num_heads=4)
    shape |= dict(feed_forward_width=4 * width, embedding={"scale": True})
    limit = {"max_length": FURTHER * length}
    if name not in CODES:
        return transformer.build({**shape, **(limit if name == "learned" else {}), "position": name})
    model = transformer.build({**shape, **limit, "position": "learned"})
    return FixedCode(model.config, model.module, CODES[name], length)


def trainee(name: str, settings: PositionsSettings) -> Trainee:
    """Make what is trained with a row of CODES or of POSITIONS; the latter are scored on longer windows too."""
    T = settings.length
    own = text.trainee(model_of(name, T, settings.width), settings, length=T, task={"code": CODES.get(name) and name})
    if name in CODES:
        return own
    longer = text.trainee(own.model, settings, length=FURTHER * T)
    return dataclasses.replace(
        own, choice=longer.choice[::4], test=longer.test[::4], score=functools.partial(beyond, length=T)
    )


def beyond(model: Model, params: Any, batch: Batch, *, length: int) -> dict[str, tuple[Array, Array]]:
    """Compute the scores of the first T bytes of each window, and KEPT on the bytes from 2 T on."""
    first = {name: x[:, :length] for name, x in batch.items()}
    wide = length // 4

    def nats(part: Batch) -> Array:
        return cross_entropy(model.apply(params, part)["logits"], part["labels"])

    far = nats(batch)[:, 2 * length :].sum()

    def at_the_end(stop: Array) -> Array:
        cut = {name: jax.lax.dynamic_slice_in_dim(batch[name], stop - length, length, 1) for name in batch}
        return nats(cut)[:, -wide:].sum()

    stops = jnp.arange(2 * length + wide, FURTHER * length + 1, wide)
    near = jax.lax.map(at_the_end, stops).sum()
    count = jnp.float32(batch["labels"].shape[0] * (FURTHER - 2) * length)
    return {**token_scores(model, params, first), KEPT: (near - far, count)}


def experiment(settings: PositionsSettings) -> Experiment:
    """Return an arm for each code and each way of encoding positions, and the claims."""
    arms = {name: functools.partial(trainee, name, settings) for name in (*CODES, *KINDS)}
    T = settings.length

    def pair(ours: str, others: str) -> Contrast:
        return Contrast(against(ours, others, CHINESE), (ours,), (others,), ("task.code",))

    bounded = Question(
        1,
        Text("What matters of a code of positions is that it is bounded", "位置编码的关键在于有界"),
        Text(
            f"Size and bound are two things. {WAVES.capitalize()} against {SHARE}, and {LARGE} against {RAW}, have the "
            f"same size (at most 1; up to T = {T}) and differ in the bound; the other two comparisons have the same "
            "bound and differ in size.",
            f"大小与有界是两回事。{CHINESE[WAVES]}对{CHINESE[SHARE]}、{CHINESE[LARGE]} 对{CHINESE[RAW]}的大小相同"
            f"（至多 1；至多 T = {T}），区别在于是否有界；另外两种比较的有界性相同，区别在于大小。",
        ),
        MARGIN,
        (pair(WAVES, SHARE), pair(LARGE, RAW), pair(WAVES, LARGE), pair(SHARE, RAW)),
        unit=UNIT,
    )
    paper = Question(
        2,
        Text(
            "Sinusoids let a model read longer sequences than it was trained on", "正弦编码使模型能读比训练时更长的序列"
        ),
        Text(
            "The code has no last position, but what a model has learned to do with it can fail beyond T.",
            "这种编码没有最后一个位置，但模型学到的用法在 T 之外可能失效。",
        ),
        -MARGIN,
        (Contrast(same("sinusoidal"), ("sinusoidal",)),),
        kind=AT_LEAST,
        metric=KEPT,
        unit=UNIT,
    )
    others = Question(
        3,
        Text(
            "With other positions the loss does not rise beyond the trained length",
            "用其他位置编码时，超出训练长度后损失不上升",
        ),
        Text(
            "A bias that falls with distance, or one bucket for all far distances, brings nothing new beyond T; a "
            "table "
            "has rows there that were never trained.",
            "随距离下降的偏置，或所有远距离共用一个桶，在 T 之外没有新东西；而位置表在那里的行从未训练过。",
        ),
        -MARGIN,
        tuple(Contrast(same(name), (name,)) for name in KINDS if name != "sinusoidal"),
        kind=AT_LEAST,
        metric=KEPT,
        unit=UNIT,
    )
    return Experiment(arms, (bounded, paper, others), settings.updates)


def draw(numbers: Numbers) -> Figure:
    """Draw the loss of the codes, that of ways of encoding positions, and what reading far adds, of those that ran."""
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row["runs"]}
    found = []
    for names, key, title, label in (
        (CODES, "loss_R", "codes that are added", "held-out loss (nats per byte)"),
        (KINDS, "loss_R", "ways of encoding positions", "held-out loss (nats per byte)"),
        (KINDS, f"{KEPT}_R", "extra loss of reading far", "extra loss (nats per byte)"),
    ):
        sign = -1.0 if key != "loss_R" else 1.0
        rows = {n: [sign * float(x) for x in next(iter(trained[n].values()))[key]] for n in names if n in trained}
        if rows:
            found.append((rows, title, label))
    figure, grid = panels(max(len(found), 1), width=3.9)
    for axes, (rows, title, label) in zip(grid[0], found, strict=False):
        points(axes, *even(rows))
        finish(axes, title, label, "")
    return figure


POSITIONS = Study(
    title=Text(
        "Codes of positions that are bounded or not, and positions beyond the trained length",
        "有界与无界的位置编码，以及超出训练长度的位置",
    ),
    settings=PositionsSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "length": 32, "width": 32, "max_seeds": 1, "long_seeds": 0, "claims": (1,)},
)
