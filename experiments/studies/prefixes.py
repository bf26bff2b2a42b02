"""Prefixes: why one masked pass trains a causal model on every prefix at once.

    one pass       loss = sum over t of -log p(x_{t+1} | row t), under the causal mask
    one by one     loss = sum over t of -log p(x_{t+1} | last row of a pass over x_1 .. x_t)

Under the mask row t never sees a row after t, so row t of the whole pass is the last row of the pass over its prefix.
Row t itself carries all before it from the first layer on; in prediction only the last row is read.
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
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    spread,
)
from experiments.studies.frame.pictures import bars, curve, finish, panels
from experiments.studies.frame.training import held_out, train_lanes
from experiments.studies.parts import text
from experiments.training.update import Batch, token_sums
from transformer import Model
from transformer.schema import at_least, setting

TOLERANCE = 1e-4
TIMED = 20
"""Passes that are timed, of each kind."""


@dataclasses.dataclass(frozen=True)
class PrefixesSettings(StudySettings):
    """One masked pass against all prefixes: python -m experiments.studies prefixes --length=16"""

    length: int = setting(16, "T, tokens of the passes that are compared", check=at_least(2))
    batch: int = setting(16, "windows of an update", check=at_least(1))
    width: int = setting(64, "D, a multiple of 4", check=at_least(4))
    steps: int = setting(300, "updates of each training", check=at_least(2))
    rate: float = setting(3e-3, "learning rate", check=at_least(0))
    text: str | None = setting(None, text.FLAG)


def last_row(sample: Callable[..., Batch]) -> Callable[..., Batch]:
    """The same windows, with loss on the last row alone."""

    def drawn(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "loss_weights": batch["loss_weights"].at[:, :-1].set(0.0)}

    return drawn


def as_source(sample: Callable[..., Batch]) -> Callable[..., Batch]:
    """The same windows for a model without a causal mask: every row sees the labels of the rows before it, and more."""

    def drawn(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "source": batch["target"]}

    return drawn


ROWS: dict[str, tuple[Mapping[str, Any], Callable[..., Callable[..., Batch]]]] = {
    "all rows, causal mask": ({"architecture": "decoder_only"}, lambda sample: sample),
    "last row only": ({"architecture": "decoder_only"}, last_row),
    "bigrams (window 1)": ({"architecture": "decoder_only", "window": 1}, lambda sample: sample),
    "all rows, no mask": ({"architecture": "encoder_only"}, as_source),
}
"""Training -> what is special about its model and its windows."""
MASKED, LAST, BIGRAMS, CHEATING = ROWS


def measure(settings: PrefixesSettings) -> Numbers:
    learn, check = (jnp.asarray(part) for part in text.corpus(settings.text))
    trained = {name: train_row(name, settings, learn, check) for name in ROWS}
    return {"length": settings.length, **equality(settings, learn), "trained": trained}


def equality(settings: PrefixesSettings, data: Array) -> dict[str, Any]:
    """Relative differences of loss and gradient, one pass against prefixes one by one, and their milliseconds."""
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
    """The median time of a call that was made before."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        jax.block_until_ready(call())
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found)


def train_row(name: str, settings: PrefixesSettings, learn: Array, check: Array) -> dict[str, Any]:
    """The curve of the loss that is trained on, and the loss of predicting: prefixes of held-out text, nothing after.

    Windows are 32 bytes; nats per byte.
    """
    model, sample = _model(settings, name), ROWS[name][1](text.windows(settings.batch, 32))
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=(settings.rate,), name=name)
    trained = train_lanes(model, sample, learn, **options)
    (batch,) = held_out(text.windows(512, 32), check)
    return {"loss_RU": trained.loss_ARU[0], "predicts_R": trained.each(lambda p: predicting(model, p, batch))[0]}


def predicting(model: Model, params: Any, batch: Batch) -> Array:
    """Nats per byte of the byte after a prefix, of a length drawn at random for each window; nothing else is seen."""
    B, T = batch["target"].shape
    lengths_B = jax.random.randint(jax.random.key(1), (B,), 1, T + 1)
    before = jnp.arange(T) < lengths_B[:, None]
    tokens = jnp.where(before, batch["target"], 0)
    seen = {"target": tokens, "source": tokens, "target_lengths": lengths_B, "source_lengths": lengths_B}
    weights = (jnp.arange(T) == lengths_B[:, None] - 1).astype(jnp.float32)
    sums = token_sums(model, params, {**seen, "labels": batch["labels"], "loss_weights": weights})[1]
    return sums["nats"] / sums["tokens"]


def _model(settings: PrefixesSettings, name: str) -> Model:
    common = dict(vocab_size=text.VOCABULARY, width=settings.width, num_heads=4, num_layers=2)
    return transformer.build({**common, **ROWS[name][0]})


def judge(numbers: Numbers) -> Sequence[Claim]:
    seeds = len(numbers["loss_R"])
    off = max(max(numbers["loss_R"]), max(numbers["gradient_R"]))
    faster = np.array(numbers["prefixes_ms_R"]) / np.array(numbers["pass_ms_R"])
    predicts = {name: np.asarray(row["predicts_R"], float) for name, row in numbers["trained"].items()}
    claims_to = np.asarray(numbers["trained"][CHEATING]["loss_RU"], float)[:, -10:].mean(1)
    equal = Claim(
        said="One masked pass is the same as training on all prefixes one by one",
        found=HOLDS if off < TOLERANCE else DIFFERS,
        criterion=f"loss and gradient agree within {TOLERANCE:g} (relative) for every seed",
        measured=f"largest difference {off:.1e}; one pass is {spread(faster)} times as fast at T = {numbers['length']}",
        instead="No coincidence: row t never sees a row after t, so it is the last row of its own prefix. It carries "
        "all before it; in prediction only the last row is read.",
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
            "Row t reads all before it; a model whose rows see only themselves predicts worse.",
        ),
        Claim(
            said="Without the mask the loss that is trained on says how well the model predicts",
            found=DIFFERS if above_zero(predicts[CHEATING] - claims_to) else HOLDS,
            criterion="differs if the loss of predicting is above that of training by more than the interval",
            measured=f"nats per byte: in training {spread(claims_to)}, predicting {spread(predicts[CHEATING])}, "
            f"with the mask {spread(predicts[MASKED])}",
            instead="Without it each row sees its own label in the row after it, and learns to copy.",
            seeds=seeds,
        ),
    ]


def _worse(name: str, predicts: Mapping[str, np.ndarray], said: str, instead: str) -> Claim:
    """The claim that a training is as good as the masked pass over all rows."""
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
