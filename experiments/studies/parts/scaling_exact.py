"""Computed part of the study of scaling: 1/sqrt(H), the variance of the scores, the softmax and its derivatives.

    scores = q . k or q . k / sqrt(H),   w = softmax(scores),   J = diag(w) - w w^T
    |dw/dscores| = |J|      |dw/dq| = |J K| or |J K| / sqrt(H)      (Frobenius; K: the S keys, S H)

The entries of q and k are normal with variance 1. Vaswani et al. 2017, section 3.2.1, footnote 4. What reaches the
query is dw/dq, which has the factor sqrt(H) once more without the scale than with it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.axes import Axes

from experiments.studies.frame.claim import MOST, MOST_STEPS, DrawnSettings, Numbers, random_keys, some_seeds
from experiments.studies.frame.pictures import curve, finish, powers
from experiments.studies.parts.scaling_claims import DERIVATIVES, SCORES, STATISTICS, judge
from transformer.ops.attend import attention_weights
from transformer.ops.scoring import raw_scores
from transformer.schema import at_least, each, setting

__all__ = ["PANELS", "ScalingExactSettings", "draw_panels", "judge", "measure"]

PANELS = 4
NAMES = {"dot": "q·k", "scaled_dot": "q·k / √H"}
widths = each(2, MOST, "two or more numbers that rise", lambda x: len(x) > 1 and list(x) == sorted(set(x)))


@dataclasses.dataclass(frozen=True)
class ScalingExactSettings(DrawnSettings):
    """Settings of the computed part of the study of scaling."""

    seeds: tuple[int, ...] = setting(tuple(range(8)), "seeds of the random draws", check=some_seeds)
    width: tuple[int, ...] = setting(
        (16, 32, 64, 128, 256, 512, 1024), "head widths H at which scores are drawn", check=widths
    )
    keys: int = setting(64, "keys per query (S)", check=at_least(2, MOST))
    queries: int = setting(256, "queries per draw (T)", check=at_least(2, MOST_STEPS))
    pairs: int = setting(8192, "pairs of a query and a key per draw, for the variance", check=at_least(2, MOST_STEPS))


def measure(settings: ScalingExactSettings) -> dict[str, Any]:
    """Compute, by score, variance_HR, entropy_HR (nats), and median and mean over queries of both derivatives, H R."""
    keys = random_keys(settings)
    rows = [jax.lax.map(lambda key, H=H: statistics(key, settings, H), keys) for H in settings.width]
    found = {
        score: {name: np.stack([np.asarray(row[score][name], float) for row in rows]) for name in rows[0][score]}
        for score in SCORES
    }
    return {"width": settings.width, "keys": settings.keys, **found}


def statistics(key: Array, settings: ScalingExactSettings, H: int) -> dict[str, Mapping[str, Array]]:
    """Compute, by score, the statistics of one draw of pairs, and of one of T queries and S keys."""
    for_pairs, *both = jax.random.split(key, 3)
    pairs = jax.random.normal(for_pairs, (2, settings.pairs, 1, 1, H), jnp.float32)
    q, k = (
        jax.random.normal(own, (1, n, 1, H), jnp.float32)
        for own, n in zip(both, (settings.queries, settings.keys), strict=True)
    )
    found: dict[str, Mapping[str, Array]] = {}
    for score, scale in zip(SCORES, (1.0, H**-0.5), strict=True):
        w_TS = attention_weights(q, k, score=score)[0, 0]
        by_scores_T, by_query_T = derivatives(w_TS, k[0, :, 0], scale)
        found[score] = {
            "variance_HR": raw_scores(*pairs, score).var(),
            "entropy_HR": -jnp.sum(jax.scipy.special.xlogy(w_TS, w_TS), axis=-1).mean(),
            "scores_median_HR": jnp.median(by_scores_T),
            "scores_mean_HR": by_scores_T.mean(),
            "query_median_HR": jnp.median(by_query_T),
            "query_mean_HR": by_query_T.mean(),
        }
    return found


def derivatives(w_TS: Array, k_SH: Array, scale: float) -> tuple[Array, Array]:
    """Compute |dw/dscores| and |dw/dq| of each query, T: the norms of J and of scale J K."""
    jacobian_TSS = w_TS[:, :, None] * (jnp.eye(w_TS.shape[1]) - w_TS[:, None])
    product_TSH = jnp.einsum("TSZ,ZH->TSH", jacobian_TSS, k_SH)
    return jnp.sqrt(jnp.sum(jacobian_TSS**2, (1, 2))), scale * jnp.sqrt(jnp.sum(product_TSH**2, (1, 2)))


def draw_panels(panels_of: Sequence[Axes], numbers: Numbers) -> None:
    """Draw the variance, the entropy and, with median and mean, both derivatives against the head width."""
    variance, entropy, *others = panels_of
    H = numbers["width"]
    for i, (score, label) in enumerate(NAMES.items()):
        curve(variance, H, numbers[score]["variance_HR"], label, i)
        curve(entropy, H, numbers[score]["entropy_HR"], label, i)
        for axes, derivative in zip(others, DERIVATIVES, strict=True):
            for statistic, line in zip(STATISTICS, ("-", "--"), strict=True):
                values_HR = np.asarray(numbers[score][f"{derivative}_{statistic}_HR"], float)
                curve(axes, H, values_HR, f"{label}, {statistic}", i)
                axes.lines[-1].set_linestyle(line)
    entropy.axhline(np.log(numbers["keys"]), color="black", linestyle=":", linewidth=1.2)
    for axes in panels_of:
        powers(axes, H)
    for axes in (variance, *others):
        axes.set_yscale("log")
    finish(variance, "variance of the scores", "head width H", "variance", legend=True)
    most = f"dotted: most, ln {numbers['keys']}"
    finish(entropy, f"entropy of the softmax ({most})", "head width H", "entropy (nats)")
    finish(others[0], "derivative by the scores", "head width H", "|dw/dscores|")
    finish(others[1], "derivative by the query", "head width H", "|dw/dq|")
    others[1].legend(frameon=False, fontsize=8, handlelength=4.0)
