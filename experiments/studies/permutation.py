"""Permutation: the output of a Transformer, with and without positions, for a shuffled input.

    equivariant   f(P x) = P f(x)
    invariant     f(P x) = f(x)

P shuffles all positions but the last, so that the result at the last position can be compared as well. Errors are the
largest difference of hidden states, in units of their largest entry. Parameters are random.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, StudySettings, judge_cases, random_keys, spread
from experiments.studies.frame.pictures import bars, finish, panels
from transformer import Model
from transformer.schema import at_least, setting

TOLERANCE = 1e-4
"""Largest relative difference that counts as rounding."""

CASES: dict[str, dict[str, object]] = {
    "self": {"architecture": "encoder_only", "position": "none"},
    "self, sinusoidal": {"architecture": "encoder_only", "position": "sinusoidal"},
    "self, rotary": {"architecture": "encoder_only", "position": "rotary"},
    "causal": {"architecture": "decoder_only", "position": "none"},
    "causal, one layer": {"architecture": "decoder_only", "position": "none", "num_layers": 1},
    "source of cross": {"architecture": "seq2seq", "position": "none"},
    "source of cross, sinusoidal": {"architecture": "seq2seq", "position": "sinusoidal"},
}
"""Model settings by case; two layers and no positions, unless the name has others."""
READINGS = {
    "moved_R": "not shuffled alike",
    "same_R": "not the same, position by position",
    "pooled_R": "mean of positions not the same",
    "last_R": "last position not the same",
}
"""Title of each reading's panel."""


@dataclasses.dataclass(frozen=True)
class PermutationSettings(StudySettings):
    """Effect of shuffling the input on the output: python -m experiments.studies permutation"""

    length: int = setting(12, "tokens per sequence (T)", check=at_least(4, MOST))
    width: int = setting(32, "model width D, a multiple of 8", check=at_least(8, MOST))


def measure(settings: PermutationSettings) -> Numbers:
    """Compute the relative differences of each case and seed, named as in READINGS."""
    keys = random_keys(settings)
    found = {}
    for name, case in CASES.items():
        model = transformer.build({"vocab_size": 31, "width": settings.width, **case})
        errors = jax.jit(jax.vmap(lambda key, model=model: differences(model, key, settings.length)))(keys)
        found[name] = {reading: np.asarray(values, float) for reading, values in errors.items()}
    return found


def differences(model: Model, key: Array, T: int) -> Mapping[str, Array]:
    """Compute the differences for one draw of parameters, tokens and a shuffle."""
    for_params, for_tokens, for_target, for_order = jax.random.split(key, 4)
    params = model.init(for_params)
    tokens_BT = jax.random.randint(for_tokens, (3, T), 0, 31, jnp.int32)
    target_BT = jax.random.randint(for_target, (3, T), 0, 31, jnp.int32)
    shuffle = jnp.roll(jnp.arange(T - 1), 1)[jax.random.permutation(for_order, T - 1)]
    order_T = jnp.append(shuffle, T - 1)
    cross = model.config.architecture == "seq2seq"

    def hidden(tokens_BT: Array) -> Array:
        batch = {"source": tokens_BT, "target": target_BT if cross else tokens_BT}
        return model.apply(params, batch)["hidden"]

    before, after = hidden(tokens_BT), hidden(tokens_BT[:, order_T])
    largest = jnp.abs(before).max()

    def difference(a: Array, b: Array) -> Array:
        return jnp.abs(a - b).max() / largest

    return {
        "moved_R": jnp.nan if cross else difference(after, before[:, order_T]),
        "same_R": difference(after, before),
        "pooled_R": difference(after.mean(1), before.mean(1)),
        "last_R": difference(after[:, -1], before[:, -1]),
    }


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on self-attention, on the source of cross-attention and on a causal model."""

    def worst(case: str, reading: str) -> float:
        return float(np.max(numbers[case][reading]))

    def equal(case: str, reading: str) -> bool:
        return worst(case, reading) < TOLERANCE

    def shown(case: str, reading: str) -> str:
        return f"{worst(case, reading):.1e}"

    common = dict(
        criterion=f"largest relative difference of all seeds below {TOLERANCE:g}", seeds=len(numbers["self"]["same_R"])
    )
    same = Claim(
        said="Shuffling the input of self-attention without positions gives the same result",
        **judge_cases(
            {
                "each position is read": equal("self", "same_R"),
                "the mean of the positions is read": equal("self", "pooled_R"),
            }
        ),
        measured=f"position by position {spread(numbers['self']['same_R'])}, mean of the positions "
        f"{shown('self', 'pooled_R')}, position that kept its place {shown('self', 'last_R')}",
        instead="It gives the same rows in the new order (equivariant); what is read after a mean over positions, or "
        "at a position that keeps its token, is the same (invariant).",
        **common,
    )
    moved = Claim(
        said="Shuffling the input shuffles the output alike",
        **judge_cases(
            {
                "there are neither positions nor a causal mask": equal("self", "moved_R"),
                "there is a causal mask": equal("causal", "moved_R"),
                "positions are added": equal("self, sinusoidal", "moved_R"),
                "positions are rotations": equal("self, rotary", "moved_R"),
            }
        ),
        measured=", ".join(f"{case} {shown(case, 'moved_R')}" for case in CASES if "cross" not in case),
        instead="This is true of self-attention with neither positions nor a causal mask: either shows the order.",
        **common,
    )
    source = Claim(
        said="Cross-attention does not depend on the order of its source",
        **judge_cases(
            {
                "the source has no positions": equal("source of cross", "same_R"),
                "the source has positions": equal("source of cross, sinusoidal", "same_R"),
            }
        ),
        measured=", ".join(f"{case} {shown(case, 'same_R')}" for case in CASES if "cross" in case),
        instead="It reads the source as a set of rows; the rows themselves can hold their order.",
        **common,
    )
    causal = Claim(
        said="A causal model without positions cannot tell the order of what came before",
        **judge_cases(
            {
                "it has one layer": equal("causal, one layer", "last_R"),
                "it has two layers": equal("causal", "last_R"),
            }
        ),
        measured=f"last position, one layer {shown('causal, one layer', 'last_R')}, "
        f"two {spread(numbers['causal']['last_R'])}",
        instead="One layer reads a set. From the second layer on the rows differ by how many rows they have read, "
        "and so the order shows.",
        **common,
    )
    return [same, moved, source, causal]


def draw(numbers: Numbers) -> Figure:
    """Draw a panel for each reading, with a bar for each case."""
    figure, grid = panels(len(READINGS), width=2.6, sharey=True)
    for axes, (reading, title) in zip(grid[0], READINGS.items(), strict=True):
        names = list(numbers)
        values = np.nan_to_num(np.array([numbers[name][reading] for name in names], float), nan=0.0)
        bars(axes, names, values, low=1e-8)
        axes.axvline(TOLERANCE, color="black", linestyle=":", linewidth=1.2)
        axes.set_xlim(1e-8, 10.0)
        finish(axes, title, "relative difference", "")
    return figure


PERMUTATION = Study(
    title="Effect of shuffling the tokens (dotted: largest rounding; two layers, no positions unless named)",
    settings=PermutationSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
