"""Positions: training with each way of encoding them, and the loss beyond the trained length.

    raw index    code[p] = p u          index / T    code[p] = p u / T          u = (1, -1, 1, -1, ...)

u has mean zero, since a layer norm removes the mean of all entries. T is the trained length; a learned table has rows
beyond it that no update has changed. The loss that a longer window adds is measured on the same bytes, read once in a
long window and once at the end of windows of T: bytes differ by more than positions do. Vaswani et al. 2017, section
3.5, offer as a hypothesis that sinusoids extend to longer sequences.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    MOST,
    MOST_STEPS,
    SHAPE_ONLY,
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    judge_cases,
    spread,
)
from experiments.studies.frame.pictures import bars, curve, finish, panels
from experiments.studies.frame.training import held_out, train_lanes
from experiments.studies.parts import text
from experiments.training.update import Batch
from transformer import Model
from transformer.ops.losses import cross_entropy
from transformer.schema import at_least, multiple, setting

FURTHER = 4
"""Length at test / trained length."""
RATE = 3e-3
STAYS = 0.01
"""Share by which a loss may rise and count as unchanged."""
BINS = 4
"""Bins of positions within the trained length; those beyond it are as wide."""
bins = multiple(BINS, BINS, MOST)
eights = multiple(8, 8, MOST)


@dataclasses.dataclass(frozen=True)
class PositionsSettings(StudySettings):
    """Training with each way of encoding positions: python -m experiments.studies positions --length=64"""

    length: int = setting(64, "bytes per training window (T); test windows are four times as long", check=bins)
    width: int = setting(64, "model width D", check=eights)
    steps: int = setting(300, "updates per model", check=at_least(2, MOST_STEPS))
    batch: int = setting(16, "windows per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


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
    """Return the code p u."""
    return jnp.arange(length, dtype=jnp.float32)[:, None] * jnp.where(jnp.arange(width) % 2, -1.0, 1.0)


def _share(length: int, width: int, trained: int) -> Array:
    """Return the code p u / T."""
    return _raw_index(length, width, trained) / trained


CODES: Mapping[str, Callable[[int, int, int], Array]] = {"raw index": _raw_index, "index / T": _share}
"""Fixed codes that are added to embeddings, beside the sinusoidal one."""
RAW, SHARE = CODES
SINUSOIDAL = "sinusoidal"
KINDS = (SINUSOIDAL, "learned", "rotary", "alibi", "relative", "none")
"""Rows of POSITIONS that are tested beyond the trained length."""


def model_of(name: str, length: int, width: int) -> Model:
    """Build a language model with a row of CODES or of POSITIONS, for up to FURTHER times the length."""
    shape = dict(architecture="decoder_only", vocab_size=text.VOCABULARY, num_layers=2, width=width, num_heads=4)
    if name not in CODES:
        limit = {"max_length": FURTHER * length} if name == "learned" else {}
        return transformer.build({**shape, **limit, "position": name})
    table = {"position": "learned", "max_length": FURTHER * length, "embedding": {"scale": True}}
    model = transformer.build({**shape, **table})
    return FixedCode(model.config, model.module, CODES[name], length)


def loss_by_position(model: Model, params: Any, batch: Batch) -> Array:
    """Compute the nats per byte at each position, T."""
    logits = model.apply(params, batch)["logits"]
    nats_BT = cross_entropy(logits, batch["labels"])
    return nats_BT.mean(0)


def at_the_end(model: Model, params: Any, batch: Batch, length: int, wide: int) -> Array:
    """Compute the nats per byte from twice the length on, each bin read at the end of windows of the length."""

    def one(stop: Array) -> Array:
        cut = {name: jax.lax.dynamic_slice_in_dim(batch[name], stop - length, length, 1) for name in batch}
        return loss_by_position(model, params, cut)[-wide:].mean()

    return jax.lax.map(one, jnp.arange(2 * length + wide, FURTHER * length + 1, wide)).mean()


def measure(settings: PositionsSettings) -> Numbers:
    """Train the models: held-out nats per byte, loss_BR by bin of positions, and short_R of `at_the_end`."""
    learn, check = (jnp.asarray(part) for part in text.corpus(settings.text))
    T, wide = settings.length, max(settings.length // BINS, 1)
    (batch,) = held_out(text.windows(128, FURTHER * T), check)
    losses, short = {}, {}
    for name in (*KINDS, *CODES):
        model = model_of(name, T, settings.width)
        options = dict(seeds=settings.seeds, steps=settings.steps, rates=(RATE,), name=name)
        trained = train_lanes(model, text.windows(settings.batch, T), learn, **options)

        def losses_of(params: Any, model: Model = model) -> tuple[Array, Array]:
            return loss_by_position(model, params, batch), at_the_end(model, params, batch, T, wide)

        loss_RT, short[name] = (x[0] for x in trained.each(losses_of))
        count = loss_RT.shape[1] // wide
        losses[name] = loss_RT[:, : count * wide].reshape(len(settings.seeds), count, wide).mean(-1).T
    return {"trained_length": T, "wide": wide, "loss_BR": losses, "short_R": short}


def within(numbers: Numbers, name: str) -> np.ndarray:
    """Compute the loss of each seed on windows of the trained length."""
    loss_BR = np.asarray(numbers["loss_BR"][name], float)
    return loss_BR[: numbers["trained_length"] // numbers["wide"]].mean(0)


def rise(numbers: Numbers, name: str) -> np.ndarray:
    """Compute the loss of bytes from twice T on, less that of the same bytes at the end of windows of T, R."""
    loss_BR = np.asarray(numbers["loss_BR"][name], float)
    inside = numbers["trained_length"] // numbers["wide"]
    return loss_BR[2 * inside :].mean(0) - np.asarray(numbers["short_R"][name], float)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on bounded codes and on lengths beyond the trained one."""
    loss = {name: within(numbers, name) for name in (SINUSOIDAL, *CODES)}
    seeds, T = len(loss[RAW]), numbers["trained_length"]
    helps = above_zero(loss[RAW] - loss[SHARE])
    more = above_zero(loss[SHARE] - loss[SINUSOIDAL])
    bounded = Claim(
        said="What matters of a code of positions is that it is bounded",
        found=DIFFERS if not helps else SHAPE_ONLY if more else HOLDS,
        criterion="held-out loss of index / T is below that of the raw index by more than the interval, and not above "
        "that of sinusoids by more; shape only: below the one, but above the other",
        measured=f"nats per byte at T = {T}: " + ", ".join(f"{name} {spread(x)}" for name, x in loss.items()),
        instead="An unbounded code is much larger than the tokens that it is added to. A bounded code is not enough: "
        "the codes of neighbours must differ.",
        seeds=seeds,
    )
    rises = {name: rise(numbers, name) for name in KINDS}
    prefix = f"loss of bytes {2 * T} to {FURTHER * T} less that of the same in windows of {T}, nats per byte: "
    paper = Claim(
        said="Sinusoids let a model read longer sequences than it was trained on",
        found=HOLDS if loss_stays(numbers, SINUSOIDAL) else DIFFERS,
        criterion=f"the loss of bytes beyond twice T = {T} is above that of the same bytes as the last of windows of T "
        f"by less than {STAYS:.0%} of it, for every seed",
        measured=prefix + spread(rises[SINUSOIDAL], signed=True),
        instead="The code has no last position, but what a model has learned to do with it can fail beyond T.",
        seeds=seeds,
    )
    others = [name for name in KINDS if name != SINUSOIDAL]
    relative = Claim(
        said="With positions that are no sinusoids the loss beyond the trained length stays",
        **judge_cases({name: loss_stays(numbers, name) for name in others}, word="they are "),
        criterion="the same, for each",
        measured=prefix + ", ".join(f"{name} {spread(rises[name], signed=True)}" for name in others),
        instead="A bias that falls with distance, or one bucket for all far distances, brings nothing new beyond T; a "
        "table has rows there that were never trained.",
        seeds=seeds,
    )
    return [bounded, paper, relative]


def loss_stays(numbers: Numbers, name: str) -> bool:
    """Return whether the loss of every seed stays beyond T; that of a seed that diverged does not."""
    return bool(np.all(rise(numbers, name) < STAYS * np.asarray(numbers["short_R"][name], float)))


def draw(numbers: Numbers) -> Figure:
    """Draw the loss of the codes, the loss by position, and the loss added beyond the trained length."""
    figure, grid = panels(3, width=3.9)
    row = grid[0]
    T, wide = numbers["trained_length"], numbers["wide"]
    codes = [SINUSOIDAL, *CODES]
    values = np.array([within(numbers, name) for name in codes])
    bars(row[0], codes, values)
    row[0].set_xlim(left=0.95 * np.nanmin(values))
    finish(row[0], f"codes that are added, trained at T = {T}", "held-out loss (nats per byte)", "")
    for i, name in enumerate(KINDS):
        loss_BR = np.asarray(numbers["loss_BR"][name], float)
        curve(row[1], (np.arange(len(loss_BR)) + 0.5) * wide, loss_BR, name, i)
    row[1].axvline(T, color="black", linestyle=":", linewidth=1.0)
    finish(row[1], "beyond the trained length (dotted)", "position (bytes)", "held-out loss (nats per byte)")
    figure.legend(*row[1].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    bars(row[2], list(KINDS), np.array([rise(numbers, name) for name in KINDS]))
    finish(row[2], f"bytes from {2 * T} on: less in windows of {T}", "added loss (nats per byte)", "")
    return figure


POSITIONS = Study(
    title="Codes of positions that are bounded or not, and positions beyond the trained length",
    settings=PositionsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="8 min beside other jobs",
    preview={"steps": 40, "length": 32, "width": 32, "seeds": (0,)},
)
