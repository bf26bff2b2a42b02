"""Score functions: the key with the most weight, the time of each score, and the loss of models trained with it.

    dot   q . k = |q| |k| cos(q, k)

The scores are those of `transformer.ops.scores`, with the initial values of their parameters.
"""

import dataclasses
import statistics
import time
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
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    judge_cases,
    random_keys,
    spread,
)
from experiments.studies.frame.pictures import bars, curve, finish, panels, powers
from experiments.studies.frame.training import best_rate
from experiments.studies.parts import text
from transformer.models.config import RelativeConfig
from transformer.nn.parameter_axes import parse_axes
from transformer.ops import scores as ours
from transformer.ops.attend import attend, attention_weights
from transformer.schema import at_least, each, setting

RATES = (1e-3, 3e-3)
OFTEN = 0.05
"""Share of the draws from which on the long key counts as winning."""


SCORES = {
    "dot": "dot",
    "scaled dot": "scaled_dot",
    "bilinear": "bilinear",
    "additive": "additive",
    "cosine": "cosine",
    "position only": "position_only",
}
"""Value of the setting model.score, by name in the figure."""
CONTENT = ("dot", "scaled dot", "cosine")
"""Scores that learn at most a factor, so that they can be compared without training."""
increasing = each(1e-6, 1e6, "two or more numbers that rise", lambda x: len(x) > 1 and list(x) == sorted(set(x)))


@dataclasses.dataclass(frozen=True)
class ScoresSettings(StudySettings):
    """Comparison of score functions: python -m experiments.studies scores --steps=300"""

    lengths: tuple[float, ...] = setting(
        (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), "lengths of the unrelated key; the others have 1", check=increasing
    )
    head_width: int = setting(16, "head width H", check=at_least(2, MOST))
    keys: int = setting(8, "keys per query (S): one related, one long, the others neither", check=at_least(2, MOST))
    draws: int = setting(512, "draws per seed", check=at_least(1, MOST_STEPS))
    rounds: int = setting(5, "rounds in which each score is timed", check=at_least(1, 10_000))
    steps: int = setting(300, "updates per model; 0: none is trained", check=at_least(0, MOST_STEPS))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def measure(settings: ScoresSettings) -> Numbers:
    """Compute wins_MR by score and length M, time each score (`ms`), and train a model with each (loss_R)."""
    keys = random_keys(settings)
    wins = {}
    for name in CONTENT:
        rows = [
            jax.vmap(lambda key, m=m, name=name: long_key_wins(key, SCORES[name], m, settings))(keys)
            for m in settings.lengths
        ]
        wins[name] = np.array(rows, float)
    found = {"lengths": settings.lengths, "wins_MR": wins, "ms": {name: time_rounds(name, settings) for name in SCORES}}
    return found | ({"loss_R": train(settings)} if settings.steps else {})


def long_key_wins(key: Array, score: str, length: float, settings: ScoresSettings) -> Array:
    """Compute the share of draws in which an unrelated key of some length gets more weight than every other.

    Queries and the other keys have length 1 times sqrt(H). The cosine of the query and the related key is 0.8; other
    keys have directions drawn evenly.
    """
    H, S, B = settings.head_width, settings.keys, settings.draws

    def unit(x: Array) -> Array:
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    for_query, for_keys = jax.random.split(key)
    query_BH, keys_BSH = (
        unit(jax.random.normal(k, s, jnp.float32)) for k, s in ((for_query, (B, H)), (for_keys, (B, S, H)))
    )
    aside_BH = keys_BSH[:, 0] - jnp.sum(keys_BSH[:, 0] * query_BH, -1, keepdims=True) * query_BH
    keys_BSH = keys_BSH.at[:, 0].set(0.8 * query_BH + 0.6 * unit(aside_BH)).at[:, 1].multiply(length)
    scale = H**0.5
    weights = attention_weights(
        scale * query_BH[:, None, None],
        scale * keys_BSH[:, :, None],
        score=score,
        parameters=initial_parameters(score, key, heads=1, width=H),
    )
    return jnp.mean(jnp.argmax(weights[:, 0, 0], axis=-1) == 1)


def initial_parameters(score: str, key: Array, *, heads: int, width: int) -> dict[str, Array]:
    """Return the initial values of a score's parameters."""
    sizes = {"N": heads, "H": width, "M": RelativeConfig().buckets}
    return {
        name: parameter.start(key, tuple(sizes[letter] for letter in parse_axes(parameter.axes).letters))
        for name, parameter in ours.find(score).parameters.items()
    }


def time_rounds(name: str, settings: ScoresSettings) -> list[float]:
    """Measure the milliseconds of attention and its gradient in each round (B 4, T = S = 128, N 4, H 32)."""
    *keys, own = jax.random.split(jax.random.key(0), 4)
    q, k, v = (jax.random.normal(key, (4, 128, 4, 32), jnp.float32) for key in keys)
    parameters = initial_parameters(SCORES[name], own, heads=4, width=32)

    @jax.jit
    def step(q: Array, k: Array, v: Array) -> Any:
        def objective(q: Array, k: Array, v: Array, p: dict[str, Array]) -> Array:
            return jnp.sum(attend(q, k, v, score=SCORES[name], parameters=p) ** 2)

        return jax.grad(objective, (0, 1, 2, 3))(q, k, v, parameters)

    jax.block_until_ready(step(q, k, v))
    rounds = []
    for _ in range(settings.rounds):
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(step(q, k, v))
            taken.append(1e3 * (time.perf_counter() - began))
        rounds.append(statistics.median(taken))
    return rounds


def train(settings: ScoresSettings) -> Mapping[str, np.ndarray]:
    """Train a language model with each score: held-out loss (nats per byte) at its better learning rate."""
    parts, found = text.corpus(settings.text), {}
    for name, score in SCORES.items():
        shape = dict(vocab_size=text.VOCABULARY, num_layers=2, width=64, num_heads=4, feed_forward_width=128)
        model = transformer.build(dict(architecture="decoder_only", score=score, **shape))
        options = dict(batch=settings.batch, seeds=settings.seeds, steps=settings.steps, rates=RATES, name=name)
        loss_AR = text.held_out_loss(model, parts, **options)
        found[name] = loss_AR[best_rate(loss_AR)]
    return found


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on lengths, on time and, where models were trained, on their loss."""
    wins = {name: np.asarray(x, float) for name, x in numbers["wins_MR"].items()}
    longest = numbers["lengths"][-1]
    rows = {
        "no longer than the related one" if length == 1 else f"{length:g} times as long": bool(
            np.all(wins["dot"][m] < OFTEN)
        )
        for m, length in enumerate(numbers["lengths"])
    }
    norm = Claim(
        said="The inner product measures how alike two vectors are, as the cosine does",
        **judge_cases(rows, word="an unrelated key is "),
        criterion=f"an unrelated key of this length wins in under {OFTEN:.0%} of the draws under q·k, for every seed",
        measured=f"at {longest:g} times the length it wins in a share of {spread(wins['dot'][-1])} of the draws "
        f"under q·k, {spread(wins['scaled dot'][-1])} under q·k / √H, {spread(wins['cosine'][-1])} under the cosine",
        instead="It is the cosine times both lengths: a long key that is hardly related wins. Normalised queries and "
        "keys prevent that.",
        seeds=wins["dot"].shape[1],
    )
    ms = {name: np.asarray(x, float) for name, x in numbers["ms"].items()}
    ratio = ms["additive"] / ms["scaled dot"]
    cost = Claim(
        said="The additive score is much slower than the dot product",
        found=HOLDS if above_zero(ratio - 2.0) else DIFFERS,
        criterion="attention and its gradient take more than twice as long, by more than the interval over rounds",
        measured=f"{spread(ratio).replace('seed', 'round')} times as long",
        instead="It builds an array of T x S x H for each head where the dot product has T x S.",
        seeds=len(ratio),
    )
    return [norm, cost, *judge_training(numbers)]


def judge_training(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the loss, if models were trained."""
    if "loss_R" not in numbers:
        return []
    loss = {name: np.asarray(x, float) for name, x in numbers["loss_R"].items()}
    more = {name: x - loss["scaled dot"] for name, x in loss.items() if name != "scaled dot"}
    prefix = "nats per byte more than q·k / √H: "
    contents = [name for name in more if name != "position only"]
    return [
        Claim(
            said="The scaled dot product is the best score",
            **judge_cases({name: above_zero(more[name]) for name in contents}, word="the other is "),
            criterion="held-out loss of the other is above its own by more than the interval, each at its better rate",
            measured=prefix + "; ".join(f"{name} {spread(more[name], signed=True)}" for name in contents),
            instead="Scores of content are close to each other on this task; the scaled dot product is the cheapest of "
            "the good ones.",
            seeds=len(loss["dot"]),
        ),
        Claim(
            said="What is attended to must depend on the content",
            found=HOLDS if above_zero(more["position only"]) else DIFFERS,
            criterion="held-out loss by position alone is above that of q·k / √H by more than the interval",
            measured=prefix + spread(more["position only"], signed=True),
            instead="On short windows of text, weights by position alone give nearly the same loss.",
            seeds=len(loss["dot"]),
        ),
    ]


def draw(numbers: Numbers) -> Figure:
    """Draw the wins of the long key, the times and, where models were trained, their loss."""
    trained = "loss_R" in numbers
    figure, grid = panels(3 if trained else 2, width=3.7)
    for i, name in enumerate(CONTENT):
        curve(grid[0, 0], numbers["lengths"], numbers["wins_MR"][name], name, i)
    powers(grid[0, 0], numbers["lengths"])
    finish(grid[0, 0], "a long unrelated key wins", "its length / length of the others", "share of draws", legend=True)
    names = list(numbers["ms"])
    bars(grid[0, 1], names, np.array([numbers["ms"][name] for name in names]))
    finish(grid[0, 1], "attention and its gradient", "time (ms)", "")
    if trained:
        values = np.array([numbers["loss_R"][name] for name in names], float)
        bars(grid[0, 2], names, values)
        grid[0, 2].set_xlim(left=0.95 * np.nanmin(values))
        finish(grid[0, 2], "trained on text", "held-out loss (nats per byte)", "")
    return figure


SCORING = Study(
    title="Score functions: the key with the most weight, time, and quality",
    settings=ScoresSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds without training (--steps=0), 10 min with, beside other jobs",
    preview={"steps": 0},
)
