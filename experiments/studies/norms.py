"""Norms: layer norm against batch norm, as lengths vary within a batch and where they are longer than trained ones.

The label of a position is the token BACK positions before it, so the task is the same at every length. Batch norm is
that of `parts.batch_norm`: per feature or per position, with padding counted or not. The gradient of a causal model
shows the leaks of its statistics.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from experiments.studies.frame.claim import MOST, MOST_STEPS, Numbers, Study, StudySettings
from experiments.studies.frame.pictures import curve, finish, matrix, panels
from experiments.studies.frame.training import Sample, best_rate, held_out, train_lanes
from experiments.studies.parts.batch_norm import FEATURE, NORMS, POSITION, averages_of, normed_model
from experiments.studies.parts.norms_claims import judge
from experiments.training.update import Batch
from transformer import Model
from transformer.models.config import ModelConfig, model_config
from transformer.ops.losses import cross_entropy, weighted_sum
from transformer.schema import at_least, each, setting

RATES = (1e-3, 3e-3)
BACK = 2
"""Positions from a token to the position whose label it is."""
shares = each(1e-6, 1.0, "falling numbers", lambda x: len(x) > 0 and list(x) == sorted(set(x))[::-1])
longer = each(1.01, 100.0, "rising numbers", lambda x: len(x) > 0 and list(x) == sorted(set(x)))


@dataclasses.dataclass(frozen=True)
class NormsSettings(StudySettings):
    """Layer norm and batch norm: python -m experiments.studies norms --shortest=1,0.2"""

    length: int = setting(16, "longest sequence in training (T, tokens)", check=at_least(2 * BACK + 2, MOST))
    shortest: tuple[float, ...] = setting(
        (1.0, 0.5, 0.2), "lengths of the shortest sequence / T; lengths are drawn evenly", check=shares
    )
    longer: tuple[float, ...] = setting((2.0, 4.0), "lengths at test / T", check=longer)
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(8, "sequences per update", check=at_least(2, MOST))
    steps: int = setting(400, "updates per model", check=at_least(2, MOST_STEPS))


def model_of(settings: NormsSettings, name: str, *, causal: bool = False) -> Model:
    """Build an encoder with a row of NORMS."""
    config: ModelConfig = model_config(
        dict(
            architecture="encoder_only",
            vocab_size=settings.vocabulary,
            width=settings.width,
            num_heads=2,
            position="rotary",
        )
    )
    return normed_model(config, NORMS[name], causal=causal)


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


def measure(settings: NormsSettings) -> Numbers:
    """Train with each norm: loss_SR by shortest length, longer_SER beyond it (nats per token); compute the leaks."""
    rows = {name: [trained(settings, name, share) for share in settings.shortest] for name in NORMS}
    found = {
        name: {key: np.stack([cell[key] for cell in cells]) for key in ("loss", "longer")}
        for name, cells in rows.items()
    }
    lengths = [shortest_of(settings, share) for share in settings.shortest]
    return {
        "length": settings.length,
        "shortest": lengths,
        "longer": [round(x * settings.length) for x in settings.longer],
        "trained": {name: {"loss_SR": row["loss"], "longer_SER": row["longer"]} for name, row in found.items()},
        "leaks": {name: leak(settings, name) for name in NORMS},
    }


def shortest_of(settings: NormsSettings, share: float) -> int:
    """Return the shortest length of a batch, which has at least one label."""
    return max(BACK + 1, round(share * settings.length))


def trained(settings: NormsSettings, name: str, share: float) -> dict[str, np.ndarray]:
    """Train with one norm and range of lengths: losses of each seed at the better learning rate, by averages."""
    model, T = model_of(settings, name), settings.length
    shortest = jnp.asarray(shortest_of(settings, share))
    sample = recall(settings.batch, T, settings.vocabulary)
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=RATES, name=f"{name}, from {int(shortest)}")
    lanes = train_lanes(model, sample, shortest, **options)
    keys = jax.random.split(jax.random.key(3), 64)
    batches = jax.jit(jax.vmap(sample, (0, None)))(keys, shortest)
    lengths = [round(x * T) for x in settings.longer]
    (check,) = held_out(recall(256, T, settings.vocabulary), shortest)
    beyond = [held_out(recall(64, E, settings.vocabulary, full=True), shortest)[0] for E in lengths]

    def each(params: Any) -> dict[str, Array]:
        averages = averages_of(model, params, batches, max(lengths))
        longer = jnp.stack([loss_of(model, params, batch, averages) for batch in beyond])
        return {"loss": loss_of(model, params, check, averages), "longer": longer}

    found = lanes.each(each)
    at = best_rate(found["loss"])
    return {"loss": found["loss"][at], "longer": found["longer"][at].T}


def loss_of(model: Model, params: Any, batch: Batch, averages: Any) -> Array:
    """Compute the nats per label, normalised with averages."""
    out = model.module.apply({"params": params}, batch, averages=averages, learn=None)
    nats, labels = weighted_sum(cross_entropy(out["logits"], batch["labels"]), batch["loss_weights"])
    return nats / labels


def leak(settings: NormsSettings, name: str) -> dict[str, np.ndarray]:
    """Compute |d hidden_i / d x_j|, T T, of a causal model, for x of the same example and of others.

    `learning`: normalised with the batch's statistics; `using`: with averages. `future_R`: the largest entry with
    j > i, of the same example or of another, as a share of the largest of all; `others_R`: that of other examples.
    """
    model, T = model_of(settings, name, causal=True), min(settings.length, 8)
    lengths_B = jnp.full(settings.batch, T)

    def one(seed: Array) -> dict[str, Array]:
        key = jax.random.key(seed)
        params = model.init(key)
        x_BTD = jax.random.normal(jax.random.fold_in(key, 1), (settings.batch, T, settings.width), jnp.float32)
        tokens_BT = jnp.zeros(x_BTD.shape[:2], jnp.int32)

        def first(x_BTD: Array, learn: float | None) -> Array:
            batch = {"source": tokens_BT, "source_lengths": lengths_B, "embedded": x_BTD}
            return model.module.apply({"params": params}, batch, learn=learn)["hidden"][0]

        found = {}
        for when, learn in (("learning", 1.0), ("using", None)):
            size_TBS = jnp.linalg.norm(jax.jacrev(first)(x_BTD, learn), axis=(1, -1))
            found[when] = jnp.stack([size_TBS[:, 0], size_TBS[:, 1:].max(1)])
        return found

    sizes = jax.jit(jax.vmap(one))(jnp.array(settings.seeds, jnp.uint32))
    found: dict[str, np.ndarray] = {}
    after_TT = np.triu(np.ones((T, T), bool), 1)
    for when, size_R2TT in sizes.items():
        size_R2TT = np.asarray(size_R2TT, float)
        top_R = size_R2TT.max((1, 2, 3))
        found[f"{when}_RTT"] = size_R2TT[:, 0] / top_R[:, None, None]
        found[f"{when}_future_R"] = size_R2TT[:, :, after_TT].max((1, 2)) / top_R
        found[f"{when}_others_R"] = size_R2TT[:, 1].max((1, 2)) / top_R
    return found


def draw(numbers: Numbers) -> Figure:
    """Draw the losses by length, within and beyond training, and the gradients of causal models."""
    figure, grid = panels(2, 2, width=4.4, height=3.2)
    shortest, T = numbers["shortest"], numbers["length"]
    for i, (name, row) in enumerate(numbers["trained"].items()):
        curve(grid[0, 0], range(len(shortest)), row["loss_SR"], name, i)
        at_test = np.concatenate([np.asarray(row["loss_SR"])[-1:], np.asarray(row["longer_SER"])[-1]])
        curve(grid[0, 1], [T, *numbers["longer"]], at_test, name, i)
    grid[0, 0].set_xticks(range(len(shortest)), [f"{s} to {T}" if s < T else f"all {T}" for s in shortest])
    for axes in grid[0]:
        axes.set_yscale("log")
    finish(grid[0, 0], "held out, lengths as in training", "lengths in a batch (tokens)", "loss (nats per token)")
    grid[0, 1].set_xticks([T, *numbers["longer"]])
    title = f"trained on {shortest[-1]} to {T}, tested longer"
    finish(grid[0, 1], title, "longest length at test (tokens)", "loss (nats per token)")
    lines, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    for axes, name in zip(grid[1], (FEATURE, POSITION), strict=True):
        size_TT = np.asarray(numbers["leaks"][name]["learning_RTT"], float)[0]
        title = f"causal, learning: {name}"
        image = matrix(axes, size_TT, title, rows="output i", columns="input j of the same example", top=1.0)
        axes.set_xticks(range(len(size_TT)))
        axes.set_yticks(range(len(size_TT)))
        figure.colorbar(image, ax=axes, shrink=0.8).set_label("|∂c_i/∂x_j| / largest", fontsize=9)
    return figure


NORMS_STUDY = Study(
    title="Layer norm and batch norm, as lengths vary, beyond the trained length, and in a causal model",
    settings=NormsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="6 min beside other jobs",
    preview={"shortest": (1.0, 0.2), "longer": (2.0,), "steps": 100, "seeds": (0,)},
)
