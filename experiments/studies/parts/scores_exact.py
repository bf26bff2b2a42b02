"""Computed part of the study of scores: the key with the most weight, and the time of each score.

    dot   q . k = |q| |k| cos(q, k)

The scores are those of `transformer.ops.scores`, with the initial values of their parameters. Times are of this
implementation on the machine that runs it, see `parts.timing`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from experiments.studies.frame.claim import MOST, MOST_STEPS, DrawnSettings, Numbers, random_keys
from experiments.studies.frame.pictures import curve, finish, powers
from experiments.studies.parts.scores_claims import ADDITIVE, CONTENT, COSINE, DOT, SCORES, judge
from experiments.studies.parts.timing import seconds_in_rounds
from transformer.models.config import RelativeConfig
from transformer.nn.parameter_axes import parse_axes
from transformer.ops import scores as ours
from transformer.ops.attend import attend, attention_weights
from transformer.schema import at_least, each, setting

__all__ = ["PANELS", "ScoresExactSettings", "draw_panels", "initial_parameters", "judge", "measure"]

PANELS = 2
BATCH, HEADS, HEAD_WIDTH = 4, 4, 32
"""Sizes of the attention that is timed."""
rising = each(1.0, 1e6, "two or more numbers that rise, the first of them 1", lambda x: len(x) > 1 and x[0] == 1.0)
sizes = each(2, MOST, "one or more whole numbers", lambda x: len(x) > 0)


@dataclasses.dataclass(frozen=True)
class ScoresExactSettings(DrawnSettings):
    """Settings of the computed part of the study of scores."""

    lengths: tuple[float, ...] = setting(
        (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), "lengths of the unrelated key; the others have 1", check=rising
    )
    head_width: int = setting(16, "head width H", check=at_least(2, MOST))
    keys: int = setting(8, "keys per query (S): one related, one long, the others neither", check=at_least(2, MOST))
    draws: int = setting(512, "draws per seed", check=at_least(1, MOST_STEPS))
    timed: tuple[int, ...] = setting((32, 64, 128, 256), "queries and keys (T = S) of the timings", check=sizes)
    rounds: int = setting(20, "rounds in which each score is timed", check=at_least(1, 10_000))


def measure(settings: ScoresExactSettings) -> dict[str, Any]:
    """Compute, by score, wins_MR and other_MR (see `winners`) and, by score and T, the milliseconds of each round."""
    keys_R = random_keys(settings)
    found: dict[str, dict[str, list[Array]]] = {"wins_MR": {}, "other_MR": {}}
    for name in CONTENT:
        rows = [
            jax.vmap(lambda key, name=name, m=m: winners(key, SCORES[name], m, settings))(keys_R)
            for m in settings.lengths
        ]
        for i, reading in enumerate(found):
            found[reading][name] = [row[i] for row in rows]
    shares = {reading: {n: np.array(x, float) for n, x in by_name.items()} for reading, by_name in found.items()}
    return {"lengths": settings.lengths, **shares, "timed": settings.timed, "ms": times(settings)}


def winners(key: Array, score: str, length: float, settings: ScoresExactSettings) -> tuple[Array, Array]:
    """Compute the share of draws in which a long unrelated key has the most weight, and in which the cosine differs.

    Queries and the other keys have length 1 times sqrt(H). The cosine of the query and the related key is 0.8; other
    keys have directions drawn evenly, and one of them has the given length. The second share is that of the draws in
    which the key with the most weight is not that of the largest cosine.
    """
    H, S, B = settings.head_width, settings.keys, settings.draws

    def unit(x: Array) -> Array:
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    for_query, for_keys = jax.random.split(key)
    query_BH, keys_BSH = (
        unit(jax.random.normal(k, s, jnp.float32)) for k, s in ((for_query, (B, H)), (for_keys, (B, S, H)))
    )
    aside_BH = keys_BSH[:, 0] - jnp.sum(keys_BSH[:, 0] * query_BH, -1, keepdims=True) * query_BH
    keys_BSH = keys_BSH.at[:, 0].set(0.8 * query_BH + 0.6 * unit(aside_BH))
    nearest_B = jnp.argmax(jnp.einsum("BH,BSH->BS", query_BH, keys_BSH), axis=-1)
    keys_BSH = keys_BSH.at[:, 1].multiply(length)
    weights = attention_weights(
        H**0.5 * query_BH[:, None, None],
        H**0.5 * keys_BSH[:, :, None],
        score=score,
        parameters=initial_parameters(score, key, heads=1, width=H),
    )
    most_B = jnp.argmax(weights[:, 0, 0], axis=-1)
    return jnp.mean(most_B == 1), jnp.mean(most_B != nearest_B)


def initial_parameters(score: str, key: Array, *, heads: int, width: int) -> dict[str, Array]:
    """Return the initial values of a score's parameters."""
    letters = {"N": heads, "H": width, "M": RelativeConfig().buckets}
    return {
        name: parameter.start(key, tuple(letters[letter] for letter in parse_axes(parameter.axes).letters))
        for name, parameter in ours.find(score).parameters.items()
    }


def times(settings: ScoresExactSettings) -> dict[str, dict[str, np.ndarray]]:
    """Measure the milliseconds of attention and its gradient, name -> T -> R rounds; all scores are in each round."""
    steps = {(name, T): attention_step(SCORES[name], T) for T in settings.timed for name in SCORES}
    seconds = seconds_in_rounds(steps, settings.rounds)
    return {name: {f"{T}": 1e3 * seconds[name, T] for T in settings.timed} for name in SCORES}


def attention_step(score: str, T: int) -> Callable[[], Any]:
    """Return attention and its gradient as a function of nothing."""
    *keys, own = jax.random.split(jax.random.key(0), 4)
    q, k, v = (jax.random.normal(key, (BATCH, T, HEADS, HEAD_WIDTH), jnp.float32) for key in keys)
    parameters = initial_parameters(score, own, heads=HEADS, width=HEAD_WIDTH)

    @jax.jit
    def gradient(q: Array, k: Array, v: Array, p: dict[str, Array]) -> Any:
        def objective(q: Array, k: Array, v: Array, p: dict[str, Array]) -> Array:
            return jnp.sum(attend(q, k, v, score=score, parameters=p) ** 2)

        return jax.grad(objective, (0, 1, 2, 3))(q, k, v, p)

    return lambda: gradient(q, k, v, parameters)


def draw_panels(panels_of: Sequence[Axes], numbers: Numbers) -> None:
    """Draw the wins of the long key against its length, and the time of each score against the length."""
    wins, cost = panels_of
    for i, name in enumerate(CONTENT):
        curve(wins, numbers["lengths"], numbers["wins_MR"][name], name, i)
        wins.lines[-1].set_linestyle("--" if name == DOT else "-")
        wins.lines[-1].set_zorder(3 if name == DOT else 2)
    powers(wins, numbers["lengths"])
    finish(wins, "a long unrelated key has the most weight", "its length / length of the others", "share", legend=True)
    for i, name in enumerate(SCORES):
        rounds = np.array([numbers["ms"][name][f"{T}"] for T in numbers["timed"]], float)
        curve(cost, numbers["timed"], np.median(rounds, axis=1), name, i)
        cost.lines[-1].set_linestyle("-" if name in (ADDITIVE, COSINE) else "--")
    powers(cost, numbers["timed"])
    cost.set_yscale("log")
    finish(cost, "attention and its gradient, median of rounds", "queries and keys T = S", "time (ms)", legend=True)
