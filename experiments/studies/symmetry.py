"""Symmetry: one projection for queries and keys.

    q_t = W_q x_t,   k_s = W_k x_s        score_ts = q_t . k_s / √H
    W_q = W_k = W                         score_ts = (W x_t) . (W x_s) / √H = score_st

The scores are then the inner products of one set of vectors. A rotation of both by their positions keeps the symmetry;
a softmax divides each row by a sum of its own, and a causal mask takes away one of two scores. Projections, rows and
the parameters of learned scores are random. The control has two projections.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.comparing.decision import AT_LEAST, COUNTEREXAMPLE, HOLDS_EXACTLY
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
from experiments.studies.frame.pictures import finish, panels, points
from experiments.studies.frame.text import Text, number, same
from experiments.studies.parts.identities import explained
from experiments.studies.parts.laws import detailed, judged
from transformer.nn.parameter_axes import parse_axes
from transformer.ops import masks
from transformer.ops.positions import rotary
from transformer.ops.scores import SCORES
from transformer.ops.scoring import allowed_keys, raw_scores, weights_from_scores
from transformer.schema import at_least, setting

OWN = 0.9
"""Least share of the tokens whose largest weight is their own, from which they "attend most to themselves"."""
ROTATED = "scaled_dot, rotary"
CONTENT = ("scaled_dot", ROTATED, "cosine", "additive", "bilinear")
"""Rows of SCORES that read queries and keys; the inner product with and without a rotation."""
WEIGHTS, MASKED = "weights", "weights, causal"
PROJECTIONS = ("one", "two")


@dataclasses.dataclass(frozen=True)
class SymmetrySettings(DrawnSettings):
    """Scores with one projection for queries and keys: python -m experiments.studies symmetry"""

    length: int = setting(32, "rows X (T)", check=at_least(2, MOST))
    width: int = setting(64, "width of the rows D", check=at_least(2, MOST))
    head_width: int = setting(16, "width of the head H, even", check=at_least(2, MOST))


def measure(settings: SymmetrySettings) -> Numbers:
    """Compute the asymmetry of scores and weights, and the share of tokens with the largest weight on themselves.

    The result is projections -> reading -> R; the readings are those of `asymmetries` and `own_shares`.
    """
    keys = random_keys(settings)
    found = {}
    for projections in PROJECTIONS:
        read = jax.jit(jax.vmap(lambda key, p=projections: readings(key, p == "one", settings)))(keys)
        found[projections] = {name: np.asarray(x, float) for name, x in read.items()}
    return found


def readings(key: Array, one: bool, settings: SymmetrySettings) -> Mapping[str, Array]:
    """Compute the readings of one draw of rows and projections."""
    for_x, for_query, for_key, for_score = jax.random.split(key, 4)
    T, D, H = settings.length, settings.width, settings.head_width
    x_TD = jax.random.normal(for_x, (T, D), jnp.float32)
    query_DH = jax.random.normal(for_query, (D, H), jnp.float32) * D**-0.5
    key_DH = query_DH if one else jax.random.normal(for_key, (D, H), jnp.float32) * D**-0.5
    query_BTNH, key_BSNH = (jnp.matmul(x_TD, w)[None, :, None] for w in (query_DH, key_DH))
    found = {}
    for name in CONTENT:
        scores_BNTS = scores_of(name, query_BTNH, key_BSNH, for_score)
        found[name] = asymmetry(scores_BNTS[0, 0])
        found[f"own, {name}"] = jnp.mean(jnp.argmax(scores_BNTS[0, 0], axis=-1) == jnp.arange(T))
    plain = scores_of("scaled_dot", query_BTNH, key_BSNH, for_score)
    for name, mask in ((WEIGHTS, None), (MASKED, masks.causal())):
        allowed = allowed_keys(mask, query_BTNH, key_BSNH)
        found[name] = asymmetry(weights_from_scores(plain, allowed)[0, 0])
    return found


def scores_of(name: str, query_BTNH: Array, key_BSNH: Array, key: Array) -> Float[Array, "B N T S"]:
    """Compute the scores of a row of CONTENT; the parameters of a learned one are drawn with `key`."""
    if name == ROTATED:
        positions = jnp.arange(query_BTNH.shape[1], dtype=jnp.int32)
        return raw_scores(rotary(query_BTNH, positions), rotary(key_BSNH, positions), "scaled_dot")
    sizes = {"N": query_BTNH.shape[2], "H": query_BTNH.shape[3]}
    parameters = {
        parameter: row.start(key, tuple(sizes[letter] for letter in parse_axes(row.axes).letters))
        for parameter, row in SCORES[name].parameters.items()
        if callable(row.start)
    }
    return raw_scores(query_BTNH, key_BSNH, name, parameters)


def asymmetry(x_TT: Float[Array, "T T"]) -> Array:
    """Compute the largest |x_ts - x_st|, in units of the largest |x|."""
    return jnp.abs(x_TT - x_TT.T).max() / jnp.abs(x_TT).max()


CRITERION = Text(
    f"holds exactly: largest |score_ts - score_st| of all draws, relative to the largest score, below {TOLERANCE:g}, "
    f"and with two projections above {CONTROL * TOLERANCE:g}; counterexample: smallest above {CONTROL * TOLERANCE:g}",
    f"精确成立：所有抽样中 |score_ts - score_st| 的最大值（相对于最大分数）小于 {TOLERANCE:g}，且使用两个投影时大于 "
    f"{CONTROL * TOLERANCE:g}；反例：最小值大于 {CONTROL * TOLERANCE:g}",
)
TWO = Text("control, two projections, smallest difference", "对照（两个投影），最小差异")
NAMES = {
    "scaled_dot": Text("q·k / √H", "q·k / √H"),
    ROTATED: Text("q·k / √H with rotary positions", "使用旋转位置编码的 q·k / √H"),
    "cosine": Text("cosine of q and k", "q 与 k 的余弦"),
    "additive": Text("additive score v·tanh(q + k)", "加性分数 v·tanh(q + k)"),
    "bilinear": Text("bilinear score q·W k with a random W", "双线性分数 q·W k（W 为随机矩阵）"),
    WEIGHTS: Text("weights without a mask", "无掩码的权重"),
    MASKED: Text("weights under a causal mask", "因果掩码下的权重"),
}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on scores, on weights, and on the weight that a token has on itself."""

    def case(reading: str) -> Case:
        return exact(NAMES[reading], numbers["one"][reading], numbers["two"][reading], control=TWO)

    scores, weights = tuple(case(name) for name in CONTENT), tuple(case(name) for name in (WEIGHTS, MASKED))
    return [
        Claim(
            1,
            Text(
                "With one projection for queries and keys the scores are symmetric",
                "查询与键共用一个投影时，分数矩阵是对称的",
            ),
            CRITERION,
            scores,
            explained(
                scores,
                (*[HOLDS_EXACTLY] * 4, COUNTEREXAMPLE),
                Text(
                    "They are, for every score in which query and key can be exchanged. So token t gets from s the "
                    "score that s gets from t. A matrix between q and k, as in the bilinear score, makes them differ, "
                    "as two projections do.",
                    "只要分数函数中查询与键可以互换，分数就是对称的：t 对 s 的分数等于 s 对 t 的分数。双线性分数在 q "
                    "与 k "
                    "之间有一个矩阵，因而像两个投影那样使二者不同。",
                ),
            ),
        ),
        Claim(
            2,
            Text("With one projection the attention weights are symmetric", "共用一个投影时，注意力权重是对称的"),
            CRITERION,
            weights,
            explained(
                weights,
                (COUNTEREXAMPLE, COUNTEREXAMPLE),
                Text(
                    "They are not. The softmax divides each row by a sum of its own, and a causal mask leaves one of "
                    "the two weights.",
                    "不对称。softmax 将每一行除以该行自己的和，而因果掩码只留下两个权重中的一个。",
                ),
            ),
        ),
        judge_own(numbers),
    ]


def judge_own(numbers: Numbers) -> Claim:
    """Judge the claim that a token attends most to itself."""
    shares = {
        (name, projections): np.asarray(numbers[projections][f"own, {name}"], float)
        for name in ("scaled_dot", "cosine")
        for projections in PROJECTIONS
    }
    many = {"one": Text("one projection", "一个投影"), "two": Text("two projections", "两个投影")}
    what = Text("share of tokens", "词元比例")
    cases = tuple(
        judged(
            detailed(NAMES[name], many[p]),
            values,
            kind=AT_LEAST,
            margin=OWN,
            what=what,
            most=1.0,
        )
        for (name, p), values in shares.items()
    )
    means = {key: number(float(values.mean()), 2) for key, values in shares.items()}
    return Claim(
        3,
        Text("With one projection each token attends most to itself", "共用一个投影时，每个词元最关注自己"),
        Text(
            f"the share of tokens whose largest weight is their own, of rows drawn at random: holds if the interval "
            f"over draws is at least {OWN:g}, fails if it is below",
            f"随机抽取的行中，最大权重落在自身的词元比例：抽样区间不低于 {OWN:g} 则成立，低于则不成立",
        ),
        cases,
        Text(
            "The score of a token with itself is |W x|² / √H. For the cosine no other can be larger: the share is "
            "{cosine}. For the inner product a longer vector can win: {dot}. With two projections a token is one key "
            "among all: {two}.",
            "词元与自身的分数是 |W x|² / √H。对余弦来说没有更大的分数：比例为 {cosine}。对内积来说，"
            "更长的向量可能胜出："
            "{dot}。使用两个投影时，词元自身只是众多键中的一个：{two}。",
        ).format(
            cosine=same(means["cosine", "one"]),
            dot=same(means["scaled_dot", "one"]),
            two=same(means["scaled_dot", "two"]),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the asymmetry of each score and of the weights, and the share of tokens that attend most to themselves."""
    figure, grid = panels(2, width=4.6, height=2.6)
    rows = [*CONTENT, WEIGHTS, MASKED]
    for i, projections in enumerate(PROJECTIONS):
        points(grid[0, 0], rows, np.array([numbers[projections][name] for name in rows]), low=1e-8, number=i)
        shares = np.array([numbers[projections][f"own, {name}"] for name in CONTENT])
        points(grid[0, 1], CONTENT, shares, number=i)
    grid[0, 0].axvline(TOLERANCE, color="black", linestyle=":", linewidth=1.2)
    grid[0, 0].set_xlim(4e-9, 5.0)
    grid[0, 1].set_xlim(-0.04, 1.04)
    finish(grid[0, 0], "left of the line: symmetric", "largest |x_ts - x_st| / largest |x| (open: below $10^{-8}$)", "")
    finish(grid[0, 1], "largest score with itself", "share of the tokens", "")
    handles = [axes for axes in grid[0, 1].get_lines() if len(axes.get_xdata())]
    first = {handle.get_color(): handle for handle in reversed(handles)}
    figure.legend(
        list(first.values())[::-1],
        ["one projection", "two projections"],
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    return figure


SYMMETRY = Study(
    title=Text("Scores with one projection for queries and keys", "查询与键共用一个投影时的分数"),
    settings=SymmetrySettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
