"""Dependence of each output on each input, |dc_i / dx_j| (Frobenius norm of the Jacobian's blocks).

One attention layer C = Attn(X, X') with random projections; queries from X', keys and values from X.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import COUNTEREXAMPLE, HOLDS_EXACTLY
from experiments.studies.frame.claim import CONTROL, MOST, Case, Claim, DrawnSettings, Numbers, Study, random_keys
from experiments.studies.frame.pictures import matrix, panels
from experiments.studies.frame.text import Text, number
from experiments.studies.parts.identities import NONE, explained, present
from experiments.studies.parts.jacobians import blocks, by_token
from transformer.ops import masks
from transformer.ops.attend import attend
from transformer.schema import at_least, setting

TARGET = "cross, target X'"
SMALLEST = Text("smallest block / largest", "最小块 / 最大块")
HIDDEN = Text("control, hidden by the causal mask", "对照（被因果掩码遮住的块）")


@dataclasses.dataclass(frozen=True)
class DependenceSettings(DrawnSettings):
    """Dependence of each output on each input: python -m experiments.studies dependence"""

    target_length: int = setting(9, "rows of X' (T)", check=at_least(2, MOST))
    source_length: int = setting(12, "rows of X (S)", check=at_least(2, MOST))
    width: int = setting(16, "width D, a multiple of 2", check=at_least(2, MOST))


def layer(key: Array, source_SD: Array, target_TD: Array, mask: masks.Mask | None = None) -> Float[Array, "T D"]:
    """Compute C = Attn(X, X') with two heads and random projections."""
    D = source_SD.shape[-1]
    q_DNH, k_DNH, v_DNH = jax.random.normal(key, (3, D, 2, D // 2), jnp.float32) * D**-0.5

    def project(x_TD: Array, w_DNH: Array) -> Array:
        return jnp.einsum("TD,DNH->TNH", x_TD, w_DNH)[None]

    query, keys, value = project(target_TD, q_DNH), project(source_SD, k_DNH), project(source_SD, v_DNH)
    return attend(query, keys, value, mask=mask)[0].reshape(len(target_TD), -1)


def cross(key: Array, T: int, S: int, D: int) -> Mapping[str, Array]:
    """Compute the blocks of cross-attention, by its source and by its target."""
    target_TD, source_SD = (
        jax.random.normal(k, (n, D), jnp.float32) for k, n in zip(jax.random.split(key), (T, S), strict=True)
    )
    return {
        "cross, source X": blocks(lambda x: layer(key, x, target_TD), source_SD),
        TARGET: blocks(lambda x: layer(key, source_SD, x), target_TD),
    }


def self_attention(key: Array, T: int, S: int, D: int) -> Mapping[str, Array]:
    """Compute the blocks of self-attention, unmasked and causal."""
    x_SD = jax.random.normal(key, (S, D), jnp.float32)
    return {
        "self": blocks(lambda x: layer(key, x, x), x_SD),
        "causal": blocks(lambda x: layer(key, x, x, masks.causal()), x_SD),
    }


def recurrent(key: Array, T: int, S: int, D: int) -> Mapping[str, Array]:
    """Compute the blocks of a recurrent decoder without attention, by its source and by its target."""
    shape = dict(vocab_size=S + T, width=D, num_layers=1)
    model = transformer.build(dict(architecture="rnn_seq2seq", recurrent={"attention": "none"}, **shape))
    of_source, of_target = by_token(model, key, T, S)
    return {"RNN, source": of_source, "RNN, target": of_target}


PANELS: tuple[Callable[..., Mapping[str, Array]], ...] = (cross, self_attention, recurrent)
"""Functions (key, T, S, D) -> panel -> blocks."""


def measure(settings: DependenceSettings) -> Numbers:
    """Compute blocks_RTS of each panel."""
    keys = random_keys(settings)
    shapes = settings.target_length, settings.source_length, settings.width
    found: dict[str, np.ndarray] = {}
    for make in PANELS:
        made = jax.jit(jax.vmap(lambda key, make=make: make(key, *shapes)))(keys)
        found |= {name: np.asarray(made[name], float) for name in sorted(made, reverse=True)}
    return {"blocks_RTS": found}


CRITERION = Text(
    f"holds exactly: no block is below {CONTROL * NONE:g} of the largest, in any draw, and the control, blocks that a "
    f"mask hides, is below {NONE:g}; counterexample: some block is below {NONE:g} in every draw",
    f"精确成立：任何一次抽样中，没有块小于最大块的 {CONTROL * NONE:g} 倍，且对照（被掩码遮住的块）小于 {NONE:g} 倍；"
    f"反例：每次抽样中都有块小于 {NONE:g} 倍",
)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on self-attention, cross-attention and the recurrent decoder."""
    found = {name: np.asarray(x, float) for name, x in numbers["blocks_RTS"].items()}
    S = found["causal"].shape[-1]
    hidden_R = shares(found["causal"])[:, np.triu(np.ones((S, S), bool), 1)].max(-1)

    def case(name: Text, panel: str, where_TS: np.ndarray | None = None) -> Case:
        x = shares(found[panel])
        where_TS = np.ones(x.shape[1:], bool) if where_TS is None else where_TS
        judged = present(name, x[:, where_TS].min(-1), hidden_R, what=SMALLEST, control=HIDDEN)
        share = Text("; {x:.1%} of the blocks are not zero", "；{x:.1%} 的块不为零")
        measured = zip(judged.measured, share.format(x=float(np.mean(x[:, where_TS] > NONE))), strict=True)
        return dataclasses.replace(judged, measured=Text(*map("".join, measured)))

    own = (case(Text("nothing is masked", "没有掩码"), "self"), case(Text("the mask is causal", "因果掩码"), "causal"))
    crossed = (
        case(Text("inputs in the source X", "源序列 X 中的输入"), "cross, source X"),
        case(Text("inputs in the target X'", "目标序列 X' 中的输入"), TARGET),
    )
    T = found["RNN, target"].shape[-1]
    recurrent = (
        case(Text("inputs in the source", "源序列中的输入"), "RNN, source"),
        case(Text("tokens that it has read", "已经读过的词元"), "RNN, target", np.tril(np.ones((T, T), bool))),
    )
    last_T = found["RNN, target"][:, -1].mean(0)
    return [
        Claim(
            1,
            Text(
                "In self-attention, change any x and every c changes", "在自注意力中，改变任何一个 x，每个 c 都会改变"
            ),
            CRITERION,
            own,
            explained(
                own,
                (HOLDS_EXACTLY, COUNTEREXAMPLE),
                Text(
                    "This is true without a mask. Under a causal mask c_i changes with x_1 to x_i only.",
                    "没有掩码时如此。在因果掩码下，c_i 只随 x_1 到 x_i 改变。",
                ),
            ),
        ),
        Claim(
            2,
            Text("In cross-attention every c depends on every input", "在交叉注意力中，每个 c 都依赖每个输入"),
            CRITERION,
            crossed,
            explained(
                crossed,
                (HOLDS_EXACTLY, COUNTEREXAMPLE),
                Text(
                    "In one layer, c_j depends on x'_j and on all of X, and on no other x'.",
                    "在一层中，c_j 依赖 x'_j 和整个 X，而不依赖其他 x'。",
                ),
            ),
        ),
        Claim(
            3,
            Text(
                "A recurrent decoder's state depends on the whole source and on all that it has read",
                "循环解码器的状态依赖整个源序列以及它已读过的一切",
            ),
            CRITERION,
            recurrent,
            explained(
                recurrent,
                (HOLDS_EXACTLY, HOLDS_EXACTLY),
                Text(
                    "It does, through the last state of the encoder and its own states. Before training, the first "
                    "token that it has read counts {x} times as much in its last state as the last one.",
                    "的确如此，通过编码器的最后一个状态和它自己的各个状态。训练之前，在它的最后一个状态中，"
                    "最先读到的词元的影响是最后读到的 {x} 倍。",
                ).format(x=number(float(last_T[0] / last_T[-1]), 2)),
            ),
        ),
    ]


def shares(blocks_RTS: np.ndarray) -> np.ndarray:
    """Return the blocks as shares of the largest of each draw, R T S."""
    return blocks_RTS / blocks_RTS.max((1, 2), keepdims=True)


OUTPUTS, INPUTS = ("output c_i", "state h_i"), {"source": "x_j", "target": "x'_j"}
ORDER = ("self", "causal", "cross, source X", TARGET, "RNN, source", "RNN, target")
"""Order of the panels."""


def draw(numbers: Numbers) -> Figure:
    """Draw the blocks of each panel for the first draw."""
    found = {name: np.asarray(numbers["blocks_RTS"][name], float)[0] for name in ORDER}
    figure, grid = panels(len(found), width=2.35, height=2.6)
    for axes, (name, x) in zip(grid[0], found.items(), strict=True):
        recurrent = name.startswith("RNN")
        rows = OUTPUTS[recurrent]
        columns = INPUTS["target" if "target" in name else "source"]
        title = f"{name} (model)" if recurrent else f"{name} (one layer)"
        image = matrix(axes, x / x.max(), title, rows=rows, columns=f"input {columns}", top=1.0)
        axes.set_xticks(range(0, x.shape[1], 4))
        axes.set_yticks(range(0, x.shape[0], 4))
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), fraction=0.02, pad=0.01, shrink=0.7)
    bar.set_label("|dc_i / dx_j|, |dh_i / dx_j|\nshare of the largest", fontsize=8)
    return figure


DEPENDENCE = Study(
    title=Text(
        "Dependence of each output on each input: size of the derivative, in one layer of attention and in a recurrent "
        "decoder (first draw)",
        "每个输出对每个输入的依赖：一层注意力和循环解码器中导数的大小（第一次抽样）",
    ),
    settings=DependenceSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
