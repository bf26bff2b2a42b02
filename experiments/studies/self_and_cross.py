"""Self- and cross-attention: one function for both, and the alignment that cross-attention learns.

    self    C = Attn(X, X)       cross    C = Attn(X, X')

The layers are compared bit by bit (see `parts.one_function`). The weights of models trained to read dates are compared
with the positions of the digits by the locale's format (see `parts.date_alignment`); Bahdanau et al. 2014,
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
from experiments.data.config import DatesConfig
from experiments.data.sources.dates import ceiling, every_day, split_days
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
    spread,
)
from experiments.studies.frame.pictures import bars, curve, finish, matrix, panels
from experiments.studies.frame.training import scores, train_lanes
from experiments.studies.parts.date_alignment import ANSWER, NOWHERE, Dates, date_splits
from experiments.studies.parts.one_function import HEADS, one_function
from experiments.studies.parts.pairs import sampler
from experiments.training.update import Batch
from transformer import Model
from transformer.inspection.plots import VISIBLE
from transformer.schema import Check, at_least, setting

ALIGNED = 0.9
"""Share of the digits from which on weights count as the alignment."""
LAYERS = 2
TOLERANCE = 1e-5
"""Largest relative difference from the equation."""
NEAR = 0.02
"""Share by which a loss may be below that of a guess and count as one."""
TOKENS = ("Y", "Y", "Y", "Y", "-", "M", "M", "-", "D", "D", "end")
WEIGHTS = "decoder.*.cross.weights"
some = Check(lambda names: len(names) > 0, "one or more")


@dataclasses.dataclass(frozen=True)
class SelfAndCrossSettings(StudySettings):
    """Self- and cross-attention: python -m experiments.studies self_and_cross --locales=de,fi,ja"""

    locales: tuple[str, ...] = setting(
        ("de", "en_GB", "fi", "cs", "hu", "lt", "ja", "ko", "zh_Hans"), "CLDR locales of the dates", check=some
    )
    formats: tuple[str, ...] = setting(("long", "medium"), "CLDR formats of the dates", check=some)
    width: int = setting(64, f"model width D, a multiple of {HEADS}", check=at_least(HEADS, MOST))
    steps: int = setting(800, "updates per model", check=at_least(2, MOST_STEPS))
    rate: float = setting(3e-3, "learning rate", check=at_least(0.0, 1e3))
    batch: int = setting(64, "dates per update", check=at_least(1, MOST))
    examples: int = setting(20_000, "training dates", check=at_least(1, MOST_STEPS))
    checked: int = setting(1000, "held-out dates, of other days; an even number", check=at_least(2, MOST_STEPS))


def measure(settings: SelfAndCrossSettings) -> Numbers:
    """Compare the layers, train models with and without cross-attention, and compute the alignment of the former."""
    config = DatesConfig(settings.locales, settings.formats)
    learn, check, size = date_splits(config, (settings.examples, settings.checked))
    days = split_days(config, 0)[1]
    found: dict[str, Any] = {
        "bits": one_function(settings.seeds, settings.width),
        "ceiling": ceiling(config, days),
        "blind_loss": float(np.log(len(every_day(config))) / ANSWER),
    }
    shape = dict(architecture="seq2seq", vocab_size=size, num_layers=LAYERS, num_heads=HEADS, width=settings.width)
    batch = jax.tree.map(jnp.asarray, check.arrays)
    for name, cross in (("cross", True), ("blind", False)):
        model = transformer.build(dict(shape, cross_attention=cross))
        options = dict(seeds=settings.seeds, steps=settings.steps, rates=(settings.rate,), name=name)
        trained = train_lanes(model, sampler(settings.batch), jax.tree.map(jnp.asarray, learn.arrays), **options)
        row = {name: x[0] for name, x in scores(model, trained, [batch]).items()}
        found[name] = row | {"exact_R": trained.each(lambda p, model=model: exact(model, p, batch))[0]}
        if cross:
            strongest = trained.each(lambda p, model=model: strongest_positions(model, p, batch))
            strongest = {name: x[0].astype(int) for name, x in strongest.items()}
            first = jax.tree.map(lambda x: x[0], trained.params)
            found |= {"alignment": alignment(strongest, check), "example": example(model, first, check)}
    return found


def exact(model: Model, params: Any, batch: Batch) -> Array:
    """Compute the share of dates whose greedy answer is correct: every token is, given the reference before it."""
    correct_BT = jnp.argmax(model.apply(params, batch)["logits"], axis=-1) == batch["labels"]
    return jnp.mean(jnp.all(correct_BT, axis=-1).astype(jnp.float32))


def strongest_positions(model: Model, params: Any, batch: Batch) -> dict[str, Array]:
    """Return the source position with the most weight: `mean_BT` of layers and heads, `head_LNBT` of each head."""
    weights_LBNTS = model.apply(params, batch, capture=(WEIGHTS,))["captured"][WEIGHTS]
    head_LNBT = jnp.swapaxes(jnp.argmax(weights_LBNTS, axis=-1), 1, 2)
    return {"mean_BT": jnp.argmax(weights_LBNTS.mean((0, 2)), axis=-1), "head_LNBT": head_LNBT}


def alignment(strongest: Mapping[str, np.ndarray], dates: Dates) -> dict[str, Any]:
    """Compute the share of the digits whose position has the most weight, on the second half of the dates.

    The best head of a seed, and the most frequent position of each digit (`fixed`), are chosen on the first half.
    `digit_R`: the most weight is at the digit that is written, there or elsewhere in the text. `mean_RT` and `best_RT`
    are by token, and NaN for the hyphens and the end.
    """
    true_NT, labels_NT = dates.aligned_NT, dates.arrays["labels"]
    half = len(true_NT) // 2
    aligned_NT = np.where(true_NT == NOWHERE, np.nan, 1.0)

    def share(hit_NT: np.ndarray, rows: slice) -> float:
        return float(np.nanmean((hit_NT * aligned_NT)[rows]))

    first, second = slice(None, half), slice(half, None)
    source_NS = dates.arrays["source"]
    found: dict[str, Any] = {name: [] for name in ("mean_R", "best_R", "digit_R", "best_head_R", "mean_RT", "best_RT")}
    for mean_NT, heads_LNBT in zip(strongest["mean_BT"], strongest["head_LNBT"], strict=True):
        heads = heads_LNBT.reshape(-1, *true_NT.shape)
        at = int(np.argmax([share(head == true_NT, first) for head in heads]))
        digit_NT = np.take_along_axis(source_NS, heads[at], axis=1) == labels_NT
        found["mean_R"].append(share(mean_NT == true_NT, second))
        found["best_R"].append(share(heads[at] == true_NT, second))
        found["digit_R"].append(share(digit_NT, second))
        found["best_head_R"].append(at)
        found["mean_RT"].append(by_token((mean_NT == true_NT)[second], aligned_NT[second]))
        found["best_RT"].append(by_token((heads[at] == true_NT)[second], aligned_NT[second]))
    usual_T = [np.bincount(column[:half][column[:half] != NOWHERE], minlength=1).argmax() for column in true_NT.T]
    return found | {"fixed": share(np.array(usual_T) == true_NT, second), "digits": int(np.nansum(aligned_NT[second]))}


def by_token(hit_NT: np.ndarray, aligned_NT: np.ndarray) -> np.ndarray:
    """Compute the share of hits for each token of the answer; NaN for one that is aligned with nothing."""
    count_T = np.nansum(aligned_NT, axis=0)
    return np.where(count_T > 0, np.nansum(hit_NT * aligned_NT, axis=0) / np.maximum(count_T, 1), np.nan)


def example(model: Model, params: Any, dates: Dates) -> dict[str, Any]:
    """Compute the weights of each head for the first date written in ASCII, with the true positions."""
    i = next((i for i, text in enumerate(dates.texts) if text.isascii()), 0)
    batch = {name: jnp.asarray(x[i : i + 1]) for name, x in dates.arrays.items()}
    weights_LNTS = np.asarray(model.apply(params, batch, capture=(WEIGHTS,))["captured"][WEIGHTS])[:, 0]
    text = dates.texts[i]
    return {
        "text": text,
        "heads_NTS": weights_LNTS.reshape(-1, *weights_LNTS.shape[2:])[..., : len(text) + 1],
        "aligned_T": dates.aligned_NT[i],
    }


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the function, on alignment and on the need of cross-attention."""
    bits = {name: {key: np.asarray(x, float) for key, x in row.items()} for name, row in numbers["bits"].items()}
    plain = bits["none"]
    error = max(plain["written_out_R"].max(), plain["written_out_other_R"].max())
    agree = error < TOLERANCE and plain["other_R"].min() > TOLERANCE
    one = Claim(
        said="Self-attention is cross-attention of a sequence with itself: one function",
        **judge_cases(
            {name: bool(agree and np.all(row["differ_R"] == 0.0)) for name, row in bits.items()}, word="positions are "
        ),
        criterion="layers of both kinds with one set of parameters give Attn(X, X) with the same bits, for every seed; "
        f"without positions they agree with the equation within {TOLERANCE:g}, of X' = X and of another X' alike",
        measured="entries that differ in a bit: "
        + ", ".join(f"{name} {row['differ_R'].mean():.1%}" for name, row in bits.items())
        + f"; from the equation {error:.1e}; another X' changes the output by {spread(plain['other_R'])}",
        instead="The function is one. Rotary, ALiBi and relative positions compare positions of one sequence, so "
        "layers of self-attention have them and layers of cross-attention do not.",
        seeds=len(plain["differ_R"]),
    )
    return [one, *judge_training(numbers)]


def judge_training(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the trained models."""
    found, fixed = numbers["alignment"], numbers["alignment"]["fixed"]
    read = {name: np.asarray(found[f"{name}_R"], float) for name in ("best", "mean")}
    with_cross, blind = (np.asarray(numbers[name]["exact_R"], float) for name in ("cross", "blind"))
    good = {name: bool(np.all(x >= ALIGNED)) and certainly_above(x - fixed) for name, x in read.items()}
    rows = {"the best head is read": good["best"], "the mean of all layers and heads is read": good["mean"]}
    aligned = Claim(
        said="The weights of cross-attention are the alignment of target and source",
        **judge_cases(rows),
        criterion=f"the true position of a digit has the most weight for {ALIGNED:.0%} of the digits or more, for "
        "every seed, and for more than fixed positions have, by more than the interval",
        measured=f"share of {found['digits']} digits: best head {spread(read['best'])}, mean {spread(read['mean'])}; "
        f"at fixed positions {fixed:.3f}; the most weight of the best head is at that digit, there or elsewhere, for "
        f"{spread(found['digit_R'])}",
        instead="They show what a head attends to, not what is used: after self-attention a row of the encoder "
        "depends on more than its own digit, and the decoder on more than the last row that it attended to.",
        seeds=len(read["best"]),
    )
    least = (1.0 - NEAR) * numbers["blind_loss"]
    needs = Claim(
        said="Without cross-attention the decoder gets nothing from the source",
        found=HOLDS if certainly_above(with_cross - blind) and np.min(numbers["blind"]["loss"]) >= least else DIFFERS,
        criterion="with it more dates are right, by more than the interval; without it the loss of every seed is at "
        f"least {1 - NEAR:.0%} of that of a guess of the day",
        measured=f"dates that are right: with {spread(with_cross)}, without {spread(blind)}; loss (nats per token) "
        f"{spread(numbers['cross']['loss'])} and {spread(numbers['blind']['loss'])}, of a guess "
        f"of the day {numbers['blind_loss']:.3f}",
        instead="In this architecture it is the only way from the encoder to the decoder.",
        seeds=len(with_cross),
    )
    return [aligned, needs]


def certainly_above(values: Sequence[float]) -> bool:
    """Return `above_zero`, or where all seeds agree, whether they are above 0."""
    values = np.asarray(values, float)
    return above_zero(values) if np.ptp(values) > 0.0 else bool(values.min() > 0.0)


def draw(numbers: Numbers) -> Figure:
    """Draw the weights of one date, the alignment by token, and the dates that are right."""
    figure, grid = panels(2, 2, width=4.4, height=3.1)
    shown = numbers["example"]
    heads_NTS, aligned_T = np.asarray(shown["heads_NTS"], float), np.asarray(shown["aligned_T"])
    best = int(numbers["alignment"]["best_head_R"][0])
    name = f"layer {best // HEADS}, head {best % HEADS}"
    for axes, weights_TS, title in (
        (grid[0, 0], heads_NTS[best], f"best head ({name})"),
        (grid[0, 1], heads_NTS.mean(0), "mean of all layers and heads"),
    ):
        image = matrix(
            axes, weights_TS, f"{title}; ○: true position", rows="token that is written", columns="source", top=1.0
        )
        rows = np.flatnonzero(aligned_T != NOWHERE)
        axes.plot(aligned_T[rows], rows, "o", markerfacecolor="none", markeredgecolor="white", markersize=8)
        axes.set_xticks(range(weights_TS.shape[1]), [*(VISIBLE.get(c, c) for c in shown["text"]), "end"])
        axes.set_yticks(range(ANSWER), TOKENS)
        axes.set_aspect("auto")
        figure.colorbar(image, ax=axes, shrink=0.8).set_label("weight", fontsize=9)
    aligned = np.isfinite(np.asarray(numbers["alignment"]["best_RT"], float)).all(0)
    tokens = np.flatnonzero(aligned)
    for i, (key, label) in enumerate((("best_RT", "best head"), ("mean_RT", "mean"))):
        curve(grid[1, 0], tokens, np.asarray(numbers["alignment"][key], float)[:, aligned].T, label, i)
    grid[1, 0].axhline(numbers["alignment"]["fixed"], color="black", linestyle=":", linewidth=1.0)
    grid[1, 0].set_xticks(tokens, [TOKENS[i] for i in tokens])
    grid[1, 0].set_ylim(0.0, 1.05)
    finish(grid[1, 0], "most weight at the true position (dotted: fixed)", "digit", "share of digits", legend=True)
    bars(grid[1, 1], ["with", "without"], np.array([numbers["cross"]["exact_R"], numbers["blind"]["exact_R"]], float))
    grid[1, 1].set_xlim(0.0, 1.05)
    finish(grid[1, 1], "cross-attention", "share of dates that are right", "")
    return figure


SELF_AND_CROSS = Study(
    title="One function for self- and cross-attention, and the alignment that cross-attention learns",
    settings=SelfAndCrossSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="6 min beside another job",
    preview={"steps": 200, "seeds": (0,), "examples": 5000, "checked": 400},
)
