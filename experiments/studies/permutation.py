"""Permutation: the output of a Transformer, with and without positions, for a shuffled input.

    equivariant   f(P x) = P f(x)
    invariant     f(P x) = f(x)

P shuffles all positions but the last, so that the result at the last position can be compared as well. The control
replaces one token in place of the shuffle. Errors are the largest difference of hidden states, in units of their
largest entry. Parameters are random.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

import transformer
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
from experiments.studies.frame.pictures import finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts.identities import explained
from transformer import Model
from transformer.schema import at_least, setting

VOCABULARY = 31

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
    "moved_R": "f(P x) against P f(x)",
    "same_R": "f(P x) against f(x)",
    "pooled_R": "f(P x) against f(x), mean",
    "last_R": "f(P x) against f(x), last row",
}
"""Title of each reading's panel."""


@dataclasses.dataclass(frozen=True)
class PermutationSettings(DrawnSettings):
    """Effect of shuffling the input on the output: python -m experiments.studies permutation"""

    length: int = setting(12, "tokens per sequence (T)", check=at_least(4, MOST))
    width: int = setting(32, "model width D, a multiple of 8", check=at_least(8, MOST))


def measure(settings: PermutationSettings) -> Numbers:
    """Compute the relative differences of each case and seed: those of READINGS, and of a replaced token.

    `replaced_R`, `replaced_pooled_R` and `replaced_last_R` are the controls of `same_R`, `pooled_R` and `last_R`.
    """
    keys = random_keys(settings)
    found = {}
    for name, case in CASES.items():
        model = transformer.build({"vocab_size": VOCABULARY, "width": settings.width, **case})
        errors = jax.jit(jax.vmap(lambda key, model=model: differences(model, key, settings.length)))(keys)
        found[name] = {reading: np.asarray(values, float) for reading, values in errors.items()}
    return found


def differences(model: Model, key: Array, T: int) -> Mapping[str, Array]:
    """Compute the differences for one draw of parameters, tokens and a shuffle."""
    for_params, for_tokens, for_target, for_order = jax.random.split(key, 4)
    params = model.init(for_params)
    tokens_BT = jax.random.randint(for_tokens, (3, T), 0, VOCABULARY, jnp.int32)
    target_BT = jax.random.randint(for_target, (3, T), 0, VOCABULARY, jnp.int32)
    shuffle = jnp.roll(jnp.arange(T - 1), 1)[jax.random.permutation(for_order, T - 1)]
    order_T = jnp.append(shuffle, T - 1)
    cross = model.config.architecture == "seq2seq"

    def hidden(tokens_BT: Array) -> Array:
        batch = {"source": tokens_BT, "target": target_BT if cross else tokens_BT}
        return model.apply(params, batch)["hidden"]

    before, after = hidden(tokens_BT), hidden(tokens_BT[:, order_T])
    replaced = hidden(tokens_BT.at[:, 0].set((tokens_BT[:, 0] + 1) % VOCABULARY))
    largest = jnp.abs(before).max()

    def difference(a: Array, b: Array) -> Array:
        return jnp.abs(a - b).max() / largest

    return {
        "moved_R": jnp.array(jnp.nan) if cross else difference(after, before[:, order_T]),
        "same_R": difference(after, before),
        "pooled_R": difference(after.mean(1), before.mean(1)),
        "last_R": difference(after[:, -1], before[:, -1]),
        "replaced_R": difference(replaced, before),
        "replaced_pooled_R": difference(replaced.mean(1), before.mean(1)),
        "replaced_last_R": difference(replaced[:, -1], before[:, -1]),
    }


CRITERION = Text(
    f"holds exactly: largest difference of all draws, relative to the largest entry, below {TOLERANCE:g}, and control "
    f"above {CONTROL * TOLERANCE:g}; counterexample: smallest difference above {CONTROL * TOLERANCE:g}",
    f"精确成立：所有抽样的最大差异（相对于最大元素）小于 {TOLERANCE:g}，且对照大于 {CONTROL * TOLERANCE:g}；"
    f"反例：最小差异大于 {CONTROL * TOLERANCE:g}",
)
REPLACED = Text("control, one token replaced, smallest difference", "对照（替换一个词元），最小差异")
NOT_MOVED = Text("control, compared without the shuffle, smallest difference", "对照（不按打乱后的顺序比较），最小差异")


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on self-attention, on the source of cross-attention and on a causal model."""

    def case(name: Text, model: str, reading: str, control: str, words: Text = REPLACED) -> Case:
        row = numbers[model]
        return exact(name, row[reading], row[control], control=words)

    same = (
        case(Text("each position is read", "逐个位置读取"), "self", "same_R", "replaced_R"),
        case(Text("the mean of the positions is read", "读取各位置的平均"), "self", "pooled_R", "replaced_pooled_R"),
        case(
            Text("a position that kept its token is read", "读取词元未移动的位置"), "self", "last_R", "replaced_last_R"
        ),
    )
    moved = tuple(
        case(name, model, "moved_R", "same_R", NOT_MOVED)
        for name, model in (
            (Text("neither positions nor a causal mask", "既无位置编码也无因果掩码"), "self"),
            (Text("a causal mask", "有因果掩码"), "causal"),
            (Text("positions are added", "加上位置编码"), "self, sinusoidal"),
            (Text("positions are rotations", "旋转位置编码"), "self, rotary"),
        )
    )
    source = tuple(
        case(name, model, "same_R", "replaced_R")
        for name, model in (
            (Text("the source has no positions", "源序列没有位置编码"), "source of cross"),
            (Text("the source has positions", "源序列有位置编码"), "source of cross, sinusoidal"),
        )
    )
    causal = tuple(
        case(name, model, "last_R", "replaced_last_R")
        for name, model in ((Text("one layer", "一层"), "causal, one layer"), (Text("two layers", "两层"), "causal"))
    )
    one_of_two = (HOLDS_EXACTLY, COUNTEREXAMPLE)
    return [
        Claim(
            1,
            Text(
                "Shuffling the input of self-attention without positions gives the same result",
                "没有位置编码时，打乱自注意力的输入，结果不变",
            ),
            CRITERION,
            same,
            explained(
                same,
                (COUNTEREXAMPLE, HOLDS_EXACTLY, HOLDS_EXACTLY),
                Text(
                    "The output rows are the same rows in the new order (equivariant). A mean over positions, and a "
                    "position that keeps its token, give the same value (invariant).",
                    "输出仍是原来的各行，只是换成了新的顺序（等变）。对各位置取平均，或读取词元未移动的位置，结果才不变（不变）。",
                ),
            ),
        ),
        Claim(
            2,
            Text("Shuffling the input shuffles the output in the same way", "打乱输入，输出按同样的方式打乱"),
            CRITERION,
            moved,
            explained(
                moved,
                (HOLDS_EXACTLY, *[COUNTEREXAMPLE] * 3),
                Text(
                    "This is true of self-attention with neither positions nor a causal mask. Either one shows the "
                    "order.",
                    "只有既无位置编码又无因果掩码的自注意力如此：二者中的任何一个都会反映顺序。",
                ),
            ),
        ),
        Claim(
            3,
            Text("Cross-attention does not depend on the order of its source", "交叉注意力不依赖源序列的顺序"),
            CRITERION,
            source,
            explained(
                source,
                one_of_two,
                Text(
                    "It treats the source as a set. It knows the order only if positions were added to the rows.",
                    "它把源序列当作集合。只有在各行中加入了位置编码，它才知道顺序。",
                ),
            ),
        ),
        Claim(
            4,
            Text(
                "A causal model without positions cannot tell the order of what came before",
                "没有位置编码的因果模型无法分辨前文的顺序",
            ),
            CRITERION,
            causal,
            explained(
                causal,
                one_of_two,
                Text(
                    "One layer reads a set. From the second layer on, the rows differ by how many rows they have read, "
                    "and so the order shows.",
                    "一层读到的是集合。从第二层起，各行读过的行数不同，因而顺序会显现出来。",
                ),
            ),
        ),
    ]


def draw(numbers: Numbers) -> Figure:
    """Draw a panel for each reading, with the draws of each case as points."""
    figure, grid = panels(len(READINGS), width=2.7, height=2.7, sharey=True)
    for axes, (reading, title) in zip(grid[0], READINGS.items(), strict=True):
        points(axes, list(numbers), np.array([numbers[name][reading] for name in numbers], float), low=1e-8)
        axes.axvline(TOLERANCE, color="black", linestyle=":", linewidth=1.2)
        axes.axvspan(1e-9, TOLERANCE, color="black", alpha=0.05, linewidth=0)
        axes.set_xlim(5e-9, 10.0)
        finish(axes, title, "relative difference", "")
    return figure


PERMUTATION = Study(
    title=Text(
        "Effect of shuffling the tokens (left of the dotted line: the same; two layers and no positions, unless named; "
        "n/a: source and output have other positions)",
        "打乱词元的影响（虚线左侧：相同；除另有说明外为两层、无位置编码；n/a：源序列与输出的位置不对应）",
    ),
    settings=PermutationSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
