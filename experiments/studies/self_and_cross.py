"""Self- and cross-attention: one function for both, and the alignment that cross-attention learns.

    self    C = Attn(X, X)       cross    C = Attn(X, X')

`parts.cross_exact` compares the layers bit by bit. The weights of a model trained to read dates are compared with the
positions of the digits by the locale's format (see `parts.date_alignment`); Bahdanau et al. 2014,
https://arxiv.org/abs/1409.0473, show such weights.
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
from experiments.comparing.decision import AT_LEAST
from experiments.data.config import DatesConfig
from experiments.studies.frame.claim import MOST, MOST_STEPS, Claim, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import ACCURACY, Baseline, Contrast, Experiment, Question, Reading, Trainee
from experiments.studies.frame.pictures import COLOURS, finish, panels
from experiments.studies.frame.text import Text
from experiments.studies.parts import cross_exact
from experiments.studies.parts.date_alignment import NOWHERE, Dates, date_splits
from experiments.studies.parts.pairs import in_batches, pair_scores, sampler
from transformer import Model
from transformer.schema import Check, at_least, setting

ALIGNED = 0.9
"""Share of the digits from which on weights count as the alignment."""
LAYERS, HEADS = 2, 4
WEIGHTS = "decoder.*.cross.weights"
some = Check(lambda names: len(names) > 0, "one or more")


@dataclasses.dataclass(frozen=True)
class SelfAndCrossSettings(TrainedSettings):
    """Self- and cross-attention: python -m experiments.studies self_and_cross --locales=de,fi,ja"""

    locales: tuple[str, ...] = setting(
        ("de", "en_GB", "fi", "cs", "hu", "lt", "ja", "ko", "zh_Hans"), "CLDR locales of the dates", check=some
    )
    formats: tuple[str, ...] = setting(("long", "medium"), "CLDR formats of the dates", check=some)
    width: int = setting(64, f"model width D, a multiple of {HEADS}", check=at_least(HEADS, MOST))
    batch: int = setting(32, "dates per update", check=at_least(1, MOST))
    examples: int = setting(20_000, "training dates", check=at_least(1, MOST_STEPS))
    checked: int = setting(1536, "held-out dates, of other days, a third for each use", check=at_least(6, MOST_STEPS))


def experiment(settings: SelfAndCrossSettings) -> Experiment:
    """Return the one model and the claim on its alignment."""
    alignment = Question(
        2,
        Text("Cross-attention learns the alignment", "交叉注意力学会了对齐"),
        Text(
            "A head can be aligned without being needed, and the digits that the weights find may stand at another "
            "place "
            "of the text: this measures only where one head looks.",
            "一个头可以对齐却并非必需，权重找到的数字也可能在文本的别处：这里只衡量一个头关注哪里。",
        ),
        ALIGNED,
        (Contrast(Text("best head", "最佳的头"), ("cross",)),),
        kind=AT_LEAST,
        unit=Text("share of the digits", "数字比例"),
        reading=Reading(
            lambda lane: float(lane["extra"]["best"]),
            Text(
                "share of the digits at whose position the best head has its most weight (the head is chosen on other "
                "dates)",
                "最佳的头的最大权重位于该数字位置的比例（头在另一些日期上选出）",
            ),
        ),
    )
    return Experiment({"cross": lambda: trainee(settings)}, (alignment,), settings.updates)


def trainee(settings: SelfAndCrossSettings) -> Trainee:
    """Make what is trained: a model that reads dates."""
    config = DatesConfig(settings.locales, settings.formats)
    learn, check, size = date_splits(config, (settings.examples, settings.checked))
    shape = dict(architecture="seq2seq", vocab_size=size, num_layers=LAYERS, num_heads=HEADS, width=settings.width)
    third = settings.checked // 3
    choice, test = (in_batches({k: x[i * third : (i + 1) * third] for k, x in check.arrays.items()}) for i in range(2))
    last = part_of(check, slice(2 * third, 3 * third))
    return Trainee(
        transformer.build(shape),
        sampler(settings.batch),
        jax.tree.map(jnp.asarray, learn.arrays),
        choice,
        test,
        settings={"batch": settings.batch, "locales": list(settings.locales), "formats": list(settings.formats)},
        baselines={ACCURACY: Baseline(0.5, Text("half of the tokens", "一半的词元"))},
        score=pair_scores,
        extra=lambda model, params: alignment_of(model, params, last),
    )


def part_of(dates: Dates, rows: slice) -> Dates:
    """Return some of the dates."""
    return Dates({k: x[rows] for k, x in dates.arrays.items()}, dates.aligned_NT[rows], dates.texts[rows])


def alignment_of(model: Model, params: Any, dates: Dates) -> dict[str, Array]:
    """Compute the share of the digits whose position has the most weight, `best` and `heads_H` of each head.

    The best head is chosen on the first half of the dates, and the shares are of the second half. `fixed` is the share
    that the most frequent place of each digit finds, and `weights_NTS` are those of the best head for one date.
    """
    batch = {name: jnp.asarray(x) for name, x in dates.arrays.items()}
    weights_LBNTS = model.apply(params, batch, capture=(WEIGHTS,))["captured"][WEIGHTS]
    strongest_HBT = jnp.swapaxes(jnp.argmax(weights_LBNTS, axis=-1), 1, 2).reshape(-1, *dates.aligned_NT.shape)
    true_NT = jnp.asarray(dates.aligned_NT)
    half = len(dates.texts) // 2

    def share(hits_HNT: Array, rows: slice) -> Array:
        digits_NT = (true_NT != NOWHERE)[rows]
        return jnp.sum(hits_HNT[..., rows, :] * digits_NT, axis=(-2, -1)) / jnp.sum(digits_NT)

    hits_HNT = strongest_HBT == true_NT
    best = jnp.argmax(share(hits_HNT, slice(None, half)))
    heads_H = share(hits_HNT, slice(half, None))
    usual_T = np.array([np.bincount(column[column != NOWHERE], minlength=1).argmax() for column in dates.aligned_NT.T])
    fixed = share((jnp.asarray(usual_T) == true_NT)[None], slice(half, None))[0]
    return {"best": heads_H[best], "heads_H": heads_H, "fixed": fixed}


def measure(settings: SelfAndCrossSettings) -> Numbers:
    """Compare the layers, and compute the derivatives by the source."""
    return cross_exact.measure(cross_exact.CrossExactSettings())


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on one function and on the source."""
    return cross_exact.judge(numbers)


def draw(numbers: Numbers) -> Figure:
    """Draw the comparison of the layers, and the alignment of each head."""
    count = cross_exact.PANELS
    figure, grid = panels(count + 1, width=4.0)
    cross_exact.draw_panels(grid[0, :count], numbers)
    axes = grid[0, count]
    row: Mapping[str, Any] = numbers.get("trained", {}).get("cross", {}).get("runs", {})
    for i, (updates, run) in enumerate(row.items()):
        for seed, shares in enumerate(run["extra"]["heads_H"]):
            x = [seed + 0.15 * i] * len(shares)
            axes.plot(
                x,
                shares,
                "o",
                color=COLOURS[i],
                alpha=0.6,
                markersize=4,
                label=f"{int(updates):,} updates" if not seed else None,
            )
        axes.axhline(float(np.mean(run["extra"]["fixed"])), color="grey", linestyle=":", linewidth=1.0)
    axes.axhline(ALIGNED, color="black", linestyle="--", linewidth=1.0)
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "alignment of each head (dotted: fixed places)", "seed", "share of the digits", legend=bool(row))
    return figure


SELF_AND_CROSS = Study(
    title=Text(
        "Self- and cross-attention: one function, and the alignment that is learned",
        "自注意力与交叉注意力：同一个函数，以及学到的对齐",
    ),
    settings=SelfAndCrossSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "checked": 96},
)
