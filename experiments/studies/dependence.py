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
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, StudySettings, judge_cases, random_keys
from experiments.studies.frame.pictures import matrix, panels
from transformer import Model
from transformer.ops import masks
from transformer.ops.attend import attend
from transformer.schema import at_least, setting

ZERO = 1e-9
"""Largest share of the largest block at which a block counts as no dependence."""

TARGET = "cross, target X'"


@dataclasses.dataclass(frozen=True)
class DependenceSettings(StudySettings):
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


def blocks(function: Callable[[Array], Array], x_SD: Array) -> Float[Array, "T S"]:
    """Compute |df_t / dx_s|."""
    return jnp.sqrt(jnp.sum(jax.jacrev(function)(x_SD) ** 2, axis=(1, 3)))


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


def by_token(model: Model, key: Array, T: int, S: int) -> tuple[Float[Array, "T S"], Float[Array, "T T"]]:
    """Compute |dhidden_t / dembedding| of the source's and the target's tokens; one table holds all S + T tokens.

    All tokens differ, so the gradient of a row of the table is that of the one position where its token stands.
    """
    params = model.init(key)
    leaves, structure = jax.tree.flatten(params)
    axes = structure.flatten_up_to(model.parameter_axes(params))
    (table_index,) = (i for i, a in enumerate(axes) if a.letters == ("V", "D"))
    batch = {"source": jnp.arange(S)[None], "target": S + jnp.arange(T)[None]}

    def hidden(table_VD: Array) -> Array:
        changed = structure.unflatten([*leaves[:table_index], table_VD, *leaves[table_index + 1 :]])
        return model.apply(changed, batch)["hidden"][0]

    found_TV = blocks(hidden, leaves[table_index])
    return found_TV[:, :S], found_TV[:, S:]


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


def depends(blocks_RTS: np.ndarray, where_TS: np.ndarray) -> bool:
    """Return whether every block at `where` is above zero, for every seed."""
    blocks_RTS = np.asarray(blocks_RTS, float)
    return bool(np.all(blocks_RTS[:, where_TS] > ZERO * blocks_RTS.max()))


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on self-attention, cross-attention and the recurrent decoder."""
    found = {name: np.asarray(x, float) for name, x in numbers["blocks_RTS"].items()}
    full = {name: depends(x, np.ones(x.shape[1:], bool)) for name, x in found.items()}

    def share(name: str) -> str:
        return f"{np.mean(found[name] > ZERO * found[name].max()):.1%}"

    common = dict(criterion=f"no block is below {ZERO:g} of the largest, for any seed", seeds=len(found["self"]))
    return [
        Claim(
            said="In self-attention, change any x and every c changes",
            **judge_cases({"nothing is masked": full["self"], "the mask is causal": full["causal"]}),
            measured=f"blocks that are not zero: self {share('self')}, causal {share('causal')}",
            instead="This is true without a mask. Under a causal mask c_i changes with x_1 to x_i only.",
            **common,
        ),
        Claim(
            said="In cross-attention every c depends on every input",
            **judge_cases(
                {
                    "the input is in the source X": full["cross, source X"],
                    "the input is in the target X'": full[TARGET],
                }
            ),
            measured=f"blocks that are not zero: X {share('cross, source X')}, X' {share(TARGET)}",
            instead="In one layer, c_j depends on x'_j and on all of X, and on no other x'.",
            **common,
        ),
        judge_recurrent(found, common),
    ]


def judge_recurrent(found: Mapping[str, np.ndarray], common: Mapping[str, object]) -> Claim:
    """Judge the claim on the recurrent decoder."""
    T = found["RNN, target"].shape[1]
    before = np.tril(np.ones((T, T), bool))
    last_T = found["RNN, target"][:, -1].mean(0)
    blocks_of = {"source": found["RNN, source"], "target": found["RNN, target"][:, before]}
    least = {name: x.min() / x.max() for name, x in blocks_of.items()}
    return Claim(
        said="A recurrent decoder's state depends on the whole source and on all that it has read",
        **judge_cases(
            {
                "the input is in the source": depends(
                    found["RNN, source"], np.ones(found["RNN, source"].shape[1:], bool)
                ),
                "the input is what it has read": depends(found["RNN, target"], before),
            }
        ),
        measured=f"smallest block / largest: of the source {least['source']:.1e}, of what was read "
        f"{least['target']:.1e}; of the last state, first token read / last {last_T[0] / last_T[-1]:.3g}",
        instead="It does, through the last state of the encoder and its own, and less for what was read long ago.",
        **common,
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the blocks of each panel for the first seed."""
    found = {name: np.asarray(x, float)[0] for name, x in numbers["blocks_RTS"].items()}
    columns = min(4, len(found))
    figure, grid = panels(columns, -(-len(found) // columns), width=2.8, height=2.6)
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes, (name, x) in zip(grid.flat, found.items(), strict=False):
        image = matrix(axes, x / x.max(), name, rows="output c, row i", columns="input x, row j", top=1.0)
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), fraction=0.03, pad=0.01)
    bar.set_label("|dc_i / dx_j|, share of the largest", fontsize=9)
    return figure


DEPENDENCE = Study(
    title="Dependence of each output on each input: |dc_i / dx_j| of one layer (first seed)",
    settings=DependenceSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
