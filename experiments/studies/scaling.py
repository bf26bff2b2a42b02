"""Scaling: the effect of 1/sqrt(H) on the scores, on the softmax and its gradient, and on training.

    scores = q . k or q . k / sqrt(H),   w = softmax(scores),   gradient: |dw/dscores| = |diag(w) - w w^T| (Frobenius)

The entries of q and k are normal with variance 1. Vaswani et al. 2017, section 3.2.1, footnote 4.
"""

import dataclasses
from collections.abc import Mapping, Sequence
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
    random_keys,
    spread,
)
from experiments.studies.frame.pictures import curve, finish, panels, powers
from experiments.studies.frame.training import best_rate
from experiments.studies.parts import text
from transformer.ops.attend import attention_weights
from transformer.ops.scoring import raw_scores
from transformer.schema import at_least, each, setting

SCORES = ("dot", "scaled_dot")
NAMES = {"dot": "q·k", "scaled_dot": "q·k / √H"}
RATES = (1e-3, 3e-3)
SMALL = 0.5
"""Largest share of another gradient at which a gradient counts as small beside it."""
widths = each(2, MOST, "whole numbers")


@dataclasses.dataclass(frozen=True)
class ScalingSettings(StudySettings):
    """Effect of 1/sqrt(H) on scores, softmax and training: python -m experiments.studies scaling --width=16,32,64"""

    width: tuple[int, ...] = setting((16, 32, 64, 128, 256), "head widths H at which scores are drawn", check=widths)
    keys: int = setting(64, "keys per query (S)", check=at_least(2, MOST))
    queries: int = setting(512, "queries per seed (T)", check=at_least(2, MOST_STEPS))
    train_width: tuple[int, ...] = setting(
        (16, 64, 256), "head widths H of the models that are trained; empty: none is", check=widths
    )
    steps: int = setting(300, "updates per model", check=at_least(2, MOST_STEPS))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def measure(settings: ScalingSettings) -> Numbers:
    """Compute variance_HR, entropy_HR (nats), gradient_HR (mean of queries) and its median by score; train loss_HR."""
    keys = random_keys(settings)
    found: dict[str, Any] = {}
    for score in SCORES:
        rows = [
            jax.vmap(lambda key, H=H, score=score: statistics(key, score, settings.queries, settings.keys, H))(keys)
            for H in settings.width
        ]
        found[score] = {name: np.stack([np.asarray(row[name], float) for row in rows]) for name in rows[0]}
    trained = train(settings) if settings.train_width else {}
    return {"width": settings.width, "keys": settings.keys, **found, "train_width": settings.train_width, **trained}


def statistics(key: Array, score: str, T: int, S: int, H: int) -> Mapping[str, Array]:
    """Compute the statistics of one draw of T queries and S keys."""
    first, second = jax.random.split(key)
    q, k = jax.random.normal(first, (1, T, 1, H), jnp.float32), jax.random.normal(second, (1, S, 1, H), jnp.float32)
    s_TS, w_TS = raw_scores(q, k, score)[0, 0], attention_weights(q, k, score=score)[0, 0]
    entropy_T = -jnp.sum(jax.scipy.special.xlogy(w_TS, w_TS), axis=-1)
    squared = jnp.sum(w_TS**2, -1) - 2.0 * jnp.sum(w_TS**3, -1) + jnp.sum(w_TS**2, -1) ** 2
    gradient_T = jnp.sqrt(jnp.maximum(squared, 0.0))
    return {
        "variance_HR": s_TS.var(),
        "entropy_HR": entropy_T.mean(),
        "gradient_HR": gradient_T.mean(),
        "median_gradient_HR": jnp.median(gradient_T),
    }


def train(settings: ScalingSettings) -> dict[str, Any]:
    """Train a language model with one head of each width: held-out loss (nats per byte) at its better learning rate."""
    parts = text.corpus(settings.text)
    found: dict[str, Any] = {}
    for score in SCORES:
        losses, rates = [], []
        for H in settings.train_width:
            shape = dict(num_layers=1, width=64, num_heads=1, head_width=H, feed_forward_width=128)
            model = transformer.build(dict(architecture="decoder_only", vocab_size=256, score=score, **shape))
            name = f"{score}, H {H}"
            options = dict(batch=settings.batch, seeds=settings.seeds, steps=settings.steps, rates=RATES, name=name)
            loss_AR = text.held_out_loss(model, parts, **options)
            losses.append(loss_AR[best_rate(loss_AR)])
            rates.append(RATES[best_rate(loss_AR)])
        found[score] = {"loss_HR": np.stack(losses), "rate_H": rates}
    return {"trained": found}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on variance, on saturation and, where models were trained, on training."""
    plain, scaled, H = numbers["dot"], numbers["scaled_dot"], np.array(numbers["width"], float)
    seeds = np.shape(plain["variance_HR"])[1]
    ratio_HR = np.asarray(plain["variance_HR"]) / H[:, None]
    unit_HR = np.asarray(scaled["variance_HR"])
    exact = bool(np.all(abs(ratio_HR.mean(1) - 1.0) < 0.1) and np.all(abs(unit_HR.mean(1) - 1.0) < 0.1))
    slope = np.polyfit(np.log(H), np.log(np.asarray(plain["variance_HR"]).mean(1)), 1)[0] if len(H) > 1 else np.nan
    widest = int(np.argmax(H))
    variance = Claim(
        said="The variance of q·k is H for entries of variance 1, and 1/√H brings it to 1",
        found=HOLDS if exact else SHAPE_ONLY if abs(slope - 1.0) < 0.1 else DIFFERS,
        criterion="both within 10 % at every width; shape only: grows as H to the power 1 ± 0.1",
        measured=f"at H = {H[widest]:g}: variance / H {spread(ratio_HR[widest])}, scaled {spread(unit_HR[widest])}; "
        f"power {slope:.3f}",
        instead="The rule is for independent entries: trained queries and keys are not independent.",
        seeds=seeds,
    )
    median = {name: np.asarray(numbers[name]["median_gradient_HR"], float) for name in SCORES}
    smaller = {f"{h:g}": above_zero(SMALL * median["scaled_dot"][i] - median["dot"][i]) for i, h in enumerate(H)}
    saturation = Claim(
        said="Without 1/√H the softmax saturates and its gradient becomes very small",
        **judge_cases(smaller, word="H is "),
        criterion=f"|dw/dscores| of the median query is less than {SMALL:g} of that with it, by more than the interval",
        measured="; ".join(
            f"H = {H[i]:g}: median {spread(median['dot'][i])} without, {spread(median['scaled_dot'][i])} with; mean "
            f"{spread(plain['gradient_HR'][i])} and {spread(scaled['gradient_HR'][i])}"
            for i in sorted({int(np.argmin(H)), widest})
        )
        + f"; entropy at H = {H[widest]:g}: {spread(plain['entropy_HR'][widest])} nats, "
        f"at most {np.log(numbers['keys']):.2f}",
        instead="The entropy falls with H. The gradient is largest where few keys share the weight, so a head has to "
        "be wide before most queries have a small one; a few keep a large one.",
        seeds=seeds,
    )
    return [variance, saturation, *judge_training(numbers)]


def judge_training(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claim on training, if models were trained."""
    if "trained" not in numbers:
        return []
    loss = {score: np.asarray(numbers["trained"][score]["loss_HR"], float) for score in SCORES}
    worse_HR = loss["dot"] - loss["scaled_dot"]
    rows = {f"{h:g}": above_zero(worse_HR[i]) for i, h in enumerate(numbers["train_width"])}
    measured = [f"H = {h:g}: {spread(worse_HR[i], signed=True)}" for i, h in enumerate(numbers["train_width"])]
    claim = Claim(
        said="Without 1/√H a model trains worse",
        **judge_cases(rows, word="H is "),
        criterion="held-out loss without - with is above 0 by more than its interval, each at its better learning rate",
        measured="nats per byte, without - with, " + "; ".join(measured),
        instead="How much the scale matters depends on H, on the learning rate and on the task: a model can learn "
        "smaller queries and keys.",
        seeds=worse_HR.shape[1],
    )
    return [claim]


def draw(numbers: Numbers) -> Figure:
    """Draw variance, entropy, gradient and, where models were trained, loss against the head width."""
    trained = "trained" in numbers
    figure, grid = panels(4 if trained else 3)
    titles = {
        "variance_HR": ("variance of the scores", "variance"),
        "entropy_HR": (f"entropy of the softmax over {numbers['keys']} keys", "entropy (nats)"),
        "gradient_HR": ("gradient of the softmax", "|dw/dscores|, mean of queries"),
    }
    for axes, (name, (title, label)) in zip(grid[0], titles.items(), strict=False):
        for i, score in enumerate(SCORES):
            curve(axes, numbers["width"], numbers[score][name], NAMES[score], i)
        powers(axes, numbers["width"])
        finish(axes, title, "head width H", label, legend=axes is grid[0, 0])
    grid[0, 0].set_yscale("log", base=2)
    if trained:
        for i, score in enumerate(SCORES):
            curve(grid[0, 3], numbers["train_width"], numbers["trained"][score]["loss_HR"], NAMES[score], i)
        powers(grid[0, 3], numbers["train_width"])
        finish(grid[0, 3], "trained, one head", "head width H", "held-out loss (nats per byte)")
    return figure


SCALING = Study(
    title="Scores, softmax and its gradient against the head width, with and without 1/√H",
    settings=ScalingSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds without training (--train_width=), 5 min with, beside other jobs",
    preview={"train_width": ()},
)
