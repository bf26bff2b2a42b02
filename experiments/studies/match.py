"""Match and weight: larger scores and larger weights, within one query and between queries.

    weight(t, s) = exp(score(t, s)) / sum over s' of exp(score(t, s'))

Within one query the sum is the same for all keys, so weights have the order of the scores. Another query has another
sum. A pair of scores is inverted if the larger score has the smaller weight. Queries and keys are random.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY
from experiments.studies.frame.claim import (
    CONTROL,
    MOST,
    TOLERANCE,
    Case,
    Claim,
    DrawnSettings,
    Numbers,
    Study,
    exact,
    random_keys,
)
from experiments.studies.frame.pictures import finish, panels
from experiments.studies.frame.text import Text
from experiments.studies.parts.identities import explained
from transformer.inspection.plots import COLOURS
from transformer.ops.attend import attention_weights
from transformer.ops.scoring import raw_scores
from transformer.schema import at_least, setting

SCORE = "scaled_dot"
APART = 1e-3
"""Least difference of two scores whose order is compared."""
SHOWN = 4
"""Queries of the figure."""


@dataclasses.dataclass(frozen=True)
class MatchSettings(DrawnSettings):
    """Order of scores and order of weights: python -m experiments.studies match --keys=32"""

    queries: int = setting(16, "queries (T)", check=at_least(2, 256))
    keys: int = setting(32, "keys (S)", check=at_least(2, 256))
    width: int = setting(32, "head width H", check=at_least(1, MOST))


def measure(settings: MatchSettings) -> Numbers:
    """Compute within_R and between_R, the shares of inverted pairs, and scores and weights of the first draw, T S."""
    T, S, H = settings.queries, settings.keys, settings.width

    def one(key: Array) -> Mapping[str, Array]:
        query, keys = (
            jax.random.normal(own, (1, n, 1, H), jnp.float32)
            for own, n in zip(jax.random.split(key), (T, S), strict=True)
        )
        score_TS = raw_scores(query, keys, SCORE)[0, 0]
        weight_TS = attention_weights(query, keys, score=SCORE)[0, 0]
        same_query = jnp.repeat(jnp.arange(T), S)
        within = same_query[:, None] == same_query
        pairs = {"within_R": within, "between_R": ~within}
        found = {name: inverted(score_TS.ravel(), weight_TS.ravel(), where) for name, where in pairs.items()}
        return found | {"score_RTS": score_TS, "weight_RTS": weight_TS}

    found = {name: np.asarray(x, float) for name, x in jax.vmap(one)(random_keys(settings)).items()}
    shown = {name.replace("RTS", "TS"): found.pop(name)[0][:SHOWN] for name in ("score_RTS", "weight_RTS")}
    return found | shown


def inverted(score_P: Array, weight_P: Array, where_PP: Array) -> Array:
    """Compute the share of the pairs whose larger score has the smaller weight, of those whose scores are apart."""
    larger_PP = (score_P[:, None] - score_P > APART) & where_PP
    return jnp.sum(larger_PP & (weight_P[:, None] < weight_P)) / jnp.maximum(jnp.sum(larger_PP), 1)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claim on match and weight."""
    within_R, between_R = (np.asarray(numbers[name], float) for name in ("within_R", "between_R"))
    what = Text("largest share of inverted pairs", "次序相反的对所占的最大比例")
    control = Text("control, pairs of two queries, smallest", "对照（两个查询之间的对），最小")
    cases: tuple[Case, ...] = (
        exact(Text("two keys of one query", "同一查询的两个键"), within_R, between_R, what=what, control=control),
        exact(Text("keys of two queries", "两个查询各自的键"), between_R, between_R, what=what, control=control),
    )
    return [
        Claim(
            1,
            Text("The better a query matches a key, the larger the weight", "查询与键越匹配，权重越大"),
            Text(
                f"holds exactly: among pairs of scores that differ by more than {APART:g}, the larger score has the "
                f"smaller weight in less than {TOLERANCE:g} of them, and between two queries in more than "
                f"{CONTROL * TOLERANCE:g}; counterexample: in more than {CONTROL * TOLERANCE:g} of them in every draw",
                f"精确成立：在相差超过 {APART:g} 的分数对中，较大的分数权重较小的不到 {TOLERANCE:g}，"
                f"而在两个查询之间超过 {CONTROL * TOLERANCE:g}；反例：在每次抽样中都超过 {CONTROL * TOLERANCE:g}",
            ),
            cases,
            explained(
                cases,
                (HOLDS_EXACTLY, COUNTEREXAMPLE),
                Text(
                    "Within one query the softmax keeps the order. Between two queries it does not: each query divides "
                    "by a sum of its own, and in {share} of the pairs or more the larger score has the smaller weight.",
                    "在同一查询内，softmax 保持次序。在两个查询之间则不然：每个查询除以各自的和，"
                    "至少 {share} 的对中较大的分数权重较小。",
                ).format(share=f"{between_R.min():.1%}"),
            ),
        )
    ]


def draw(numbers: Numbers) -> Figure:
    """Draw weight against score for some queries of the first draw, one line a query."""
    figure, grid = panels(1, width=5.0, height=3.4)
    axes = grid[0, 0]
    score_TS, weight_TS = (np.asarray(numbers[name], float) for name in ("score_TS", "weight_TS"))
    for i, (score_S, weight_S) in enumerate(zip(score_TS, weight_TS, strict=True)):
        order = np.argsort(score_S)
        axes.plot(
            score_S[order], weight_S[order], "o-", color=COLOURS[i], markersize=3.5, linewidth=1, label=f"query {i}"
        )
    axes.set_yscale("log")
    finish(axes, "each line rises, but lines differ in height", "score q·k / √H", "weight", legend=True)
    return figure


MATCH = Study(
    title=Text(
        "Order of the scores and order of the weights, within one query and between queries",
        "分数的次序与权重的次序：同一查询之内与不同查询之间",
    ),
    settings=MatchSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
