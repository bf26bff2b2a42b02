"""Prefixes: one masked pass trains a causal model on every prefix at once.

    one pass       loss = sum over t of -log p(x_{t+1} | row t), under the causal mask
    one by one     loss = sum over t of -log p(x_{t+1} | last row of a pass over x_1 .. x_t)

Under the mask row t does not depend on a row after t, so row t of the whole pass is the last row of the pass over its
prefix. From the first layer on row t depends on all before it; prediction reads the last row alone.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    MOST,
    MOST_STEPS,
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    spread,
)
from experiments.studies.frame.pictures import bars, curve, finish, panels
from experiments.studies.frame.training import Sample, held_out, train_lanes
from experiments.studies.parts import text
from experiments.training.update import Batch, token_sums
from transformer import Model
from transformer.schema import at_least, setting

TOLERANCE = 1e-4
"""Largest relative difference that counts as none."""
TIMED = 20
"""Timed calls of one masked pass; a quarter as many of all prefixes."""


@dataclasses.dataclass(frozen=True)
class PrefixesSettings(StudySettings):
    """One masked pass against all prefixes: python -m experiments.studies prefixes --length=16"""

    length: int = setting(16, "tokens of the passes that are compared (T)", check=at_least(2, MOST))
    batch: int = setting(16, "windows per update", check=at_least(1, MOST))
    width: int = setting(64, "model width D, a multiple of 4", check=at_least(4, MOST))
    steps: int = setting(300, "updates per model", check=at_least(2, MOST_STEPS))
    rate: float = setting(3e-3, "learning rate", check=at_least(0.0, 1e3))
    text: str | None = setting(None, text.FLAG)


def all_rows(sample: Sample) -> Sample:
    """Return the sampler as it is."""
    return sample


def last_row(sample: Sample) -> Sample:
    """Return a sampler of the same windows, with loss on the last row alone."""

    def changed(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "loss_weights": batch["loss_weights"].at[:, :-1].set(0.0)}

    return changed


def as_source(sample: Sample) -> Sample:
    """Return a sampler of the same windows for a model without a causal mask, whose rows attend to their own labels."""

    def changed(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "source": batch["target"]}

    return changed


ROWS: dict[str, tuple[Mapping[str, Any], Callable[[Sample], Sample]]] = {
    "all rows, causal mask": ({"architecture": "decoder_only"}, all_rows),
    "last row only": ({"architecture": "decoder_only"}, last_row),
    "bigrams (window 1)": ({"architecture": "decoder_only", "window": 1}, all_rows),
    "all rows, no mask": ({"architecture": "encoder_only"}, as_source),
}
"""Settings of the model and change of the sampler, by training."""
MASKED, LAST, BIGRAMS, UNMASKED = ROWS


def measure(settings: PrefixesSettings) -> Numbers:
    """Compare one pass with all prefixes, and train a model for each row of ROWS."""
    learn, check = (jnp.asarray(part) for part in text.corpus(settings.text))
    trained = {name: train_row(name, settings, learn, check) for name in ROWS}
    return {"length": settings.length, **equality(settings, learn), "trained": trained}


def equality(settings: PrefixesSettings, data: Array) -> dict[str, Any]:
    """Compute the relative differences of loss and gradient, one pass against all prefixes, and time both (ms)."""
    model = _model(settings, MASKED)
    sample = text.windows(settings.batch, settings.length)

    def whole(params: Any, batch: Batch) -> Array:
        return token_sums(model, params, batch)[0]

    def prefix(params: Any, tokens_Bt: Array, labels_B: Array) -> Array:
        logits_BV = model.apply(params, {"target": tokens_Bt})["logits"][:, -1]
        return optax.softmax_cross_entropy_with_integer_labels(logits_BV, labels_B).sum()

    add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
    one_pass, one_prefix = (jax.jit(jax.value_and_grad(f)) for f in (whole, prefix))

    def by_prefixes(params: Any, batch: Batch) -> tuple[Array, Any]:
        parts = [one_prefix(params, batch["target"][:, : t + 1], batch["labels"][:, t]) for t in range(settings.length)]
        return functools.reduce(add, parts)

    found: dict[str, list[float]] = {"loss_R": [], "gradient_R": [], "pass_ms_R": [], "prefixes_ms_R": []}
    for seed in settings.seeds:
        key = jax.random.key(seed)
        params, batch = model.init(key), jax.jit(sample)(key, data)
        (loss, gradient), (loss_of_parts, of_parts) = one_pass(params, batch), by_prefixes(params, batch)
        difference = jax.tree.map(jnp.subtract, gradient, of_parts)
        found["loss_R"].append(abs(float(loss - loss_of_parts) / float(loss)))
        found["gradient_R"].append(float(optax.tree.norm(difference) / optax.tree.norm(gradient)))
        found["pass_ms_R"].append(milliseconds(lambda p=params, b=batch: one_pass(p, b)))
        found["prefixes_ms_R"].append(milliseconds(lambda p=params, b=batch: by_prefixes(p, b), TIMED // 4))
    return found


def milliseconds(call: Callable[[], Any], times: int = TIMED) -> float:
    """Measure the median time of a function that was called before."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(call())
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found)


def train_row(name: str, settings: PrefixesSettings, learn: Array, check: Array) -> dict[str, Any]:
    """Train one row of ROWS: loss_RU of training, and predicts_R of held-out prefixes (nats per byte).

    Windows have 32 bytes.
    """
    model, sample = _model(settings, name), ROWS[name][1](text.windows(settings.batch, 32))
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=(settings.rate,), name=name)
    trained = train_lanes(model, sample, learn, **options)
    (batch,) = held_out(text.windows(512, 32), check)
    return {"loss_RU": trained.loss_ARU[0], "predicts_R": trained.each(lambda p: predicting(model, p, batch))[0]}


def predicting(model: Model, params: Any, batch: Batch) -> Array:
    """Compute the nats per byte of the byte after a prefix, which alone is read; its length is random per window."""
    B, T = batch["target"].shape
    lengths_B = jax.random.randint(jax.random.key(1), (B,), 1, T + 1, jnp.int32)
    before = jnp.arange(T) < lengths_B[:, None]
    tokens = jnp.where(before, batch["target"], 0)
    inputs = {"target": tokens, "source": tokens, "target_lengths": lengths_B, "source_lengths": lengths_B}
    weights = (jnp.arange(T) == lengths_B[:, None] - 1).astype(jnp.float32)
    sums = token_sums(model, params, {**inputs, "labels": batch["labels"], "loss_weights": weights})[1]
    return sums["nats"] / sums["tokens"]


def _model(settings: PrefixesSettings, name: str) -> Model:
    """Build the model of a row of ROWS."""
    common = dict(vocab_size=text.VOCABULARY, width=settings.width, num_heads=4, num_layers=2)
    return transformer.build({**common, **ROWS[name][0]})


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the masked pass and on the other trainings."""
    seeds = len(numbers["loss_R"])
    error = max(max(numbers["loss_R"]), max(numbers["gradient_R"]))
    faster = np.array(numbers["prefixes_ms_R"]) / np.array(numbers["pass_ms_R"])
    predicts = {name: np.asarray(row["predicts_R"], float) for name, row in numbers["trained"].items()}
    trains_to = np.asarray(numbers["trained"][UNMASKED]["loss_RU"], float)[:, -10:].mean(1)
    equal = Claim(
        said="One masked pass is the same as training on all prefixes one by one",
        found=HOLDS if error < TOLERANCE else DIFFERS,
        criterion=f"loss and gradient agree within {TOLERANCE:g} (relative) for every seed",
        measured=f"largest difference {error:.1e}; one pass is {spread(faster)} times as fast at "
        f"T = {numbers['length']}",
        instead="Row t does not depend on a row after t, so it is the last row of its own prefix. It depends on all "
        "rows before it; prediction reads the last row alone.",
        seeds=seeds,
    )
    return [
        equal,
        _worse(
            LAST,
            predicts,
            "Predicting from the last row alone trains as well, since only it is read in the end",
            "The other rows are as many examples for the same pass: without their labels a step learns less.",
        ),
        _worse(
            BIGRAMS,
            predicts,
            "Each row learns from its own token only (bigrams)",
            "Row t reads all before it; a model whose rows read only themselves predicts worse.",
        ),
        Claim(
            said="Without the mask the training loss shows how well the model predicts",
            found=DIFFERS if above_zero(predicts[UNMASKED] - trains_to) else HOLDS,
            criterion="differs if the loss of predicting is above that of training by more than the interval",
            measured=f"nats per byte: in training {spread(trains_to)}, predicting {spread(predicts[UNMASKED])}, "
            f"with the mask {spread(predicts[MASKED])}",
            instead="Without it each row attends to its own label in the row after it, and learns to copy.",
            seeds=seeds,
        ),
    ]


def _worse(name: str, predicts: Mapping[str, np.ndarray], said: str, instead: str) -> Claim:
    """Judge the claim that a training is as good as the masked pass over all rows."""
    more_R = predicts[name] - predicts[MASKED]
    return Claim(
        said=said,
        found=DIFFERS if above_zero(more_R) else HOLDS,
        criterion="differs if its loss of predicting is above that of all rows by more than the interval",
        measured=f"nats per byte, {name} - {MASKED}: {spread(more_R, signed=True)}",
        instead=instead,
        seeds=len(more_R),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the training losses, the losses of prediction, and the times of both ways."""
    figure, grid = panels(3, width=3.7)
    names = list(numbers["trained"])
    for i, name in enumerate(names):
        loss_RU = np.asarray(numbers["trained"][name]["loss_RU"], float)
        smooth = np.array([np.convolve(row, np.ones(10) / 10, mode="valid") for row in loss_RU])
        curve(grid[0, 0], np.arange(smooth.shape[1]) + 10, smooth.T, name, i, points=False)
    finish(grid[0, 0], "the loss that is trained on", "step (updates)", "nats per byte, mean of 10", legend=True)
    bars(grid[0, 1], names, np.array([numbers["trained"][name]["predicts_R"] for name in names]))
    finish(grid[0, 1], "predicting held-out text from prefixes", "nats per byte", "")
    bars(
        grid[0, 2],
        ["one masked pass", f"{numbers['length']} prefixes"],
        np.array([numbers["pass_ms_R"], numbers["prefixes_ms_R"]]),
    )
    finish(grid[0, 2], "the same loss and gradient", "time (ms)", "")
    return figure


PREFIXES = Study(
    title="One masked pass against prefixes one by one, the last row only, bigrams, and no mask",
    settings=PrefixesSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="about 2 min",
)
