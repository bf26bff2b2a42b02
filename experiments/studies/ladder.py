"""Ladder: from a recurrent translator to the Transformer, rung by rung (see `rungs`), on dates or on sentences.

Exact match: all tokens of an answer are right, each given the right ones before it, which is when the greedy answer is.
BLEU: of greedy answers, by sacreBLEU's tokenizer 13a, against the one reference.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import Numbers, Study, StudySettings
from experiments.studies.frame.pictures import bars, curve, finish, panels
from experiments.studies.frame.training import Trained, best_rate, number_of_parameters, train_lanes
from experiments.studies.parts import pairs
from experiments.studies.parts.ladder_claims import judge
from experiments.studies.parts.rungs import ROWS, TRANSFORMER, of_size
from experiments.training.bleu import bleu
from transformer import Model
from transformer.errors import problem
from transformer.schema import Check, above, at_least, setting

SMOOTH = 20
"""Updates over which the loss that is trained on is averaged."""
QUARTERS = 4
some_rates = Check(
    lambda rates: len(rates) > 0 and min(rates) > 0 and len(set(rates)) == len(rates), "different numbers above 0"
)


@dataclasses.dataclass(frozen=True)
class RungSettings(StudySettings):
    """What both ladders can be told."""

    held_out: int = setting(512, "pairs that are held out, at most; of dates, on days of their own", check=at_least(4))
    longest: int = setting(48, "pairs with more tokens on a side are left out", check=at_least(2))
    batch: int = setting(32, "pairs of an update", check=at_least(1))
    rates: tuple[float, ...] = setting((2e-3, 5e-3), "learning rates; the better one counts", check=some_rates)


@dataclasses.dataclass(frozen=True)
class LadderSettings(RungSettings):
    """From RNN to Transformer at one size, on dates: python -m experiments.studies ladder --locales=de,fi"""

    locales: tuple[str, ...] = setting(pairs.LOCALES, "locales that dates are written in")
    examples: int = setting(20_000, "pairs to learn from", check=at_least(1))
    width: int = setting(48, "D of the Transformer, even; the others follow from its size", check=at_least(2))
    steps: int = setting(600, "updates of each model", check=at_least(2))
    goal: float = setting(0.3, "loss in nats per token that the time to is measured", check=above(0.0))


@dataclasses.dataclass(frozen=True)
class TranslationSettings(RungSettings):
    """The same on sentences, such as Multi30k's: python -m experiments.studies translation --data=DIR"""

    data: str | None = setting(None, pairs.FOLDER_HOLDS + ", line by line")
    examples: int = setting(29_000, "pairs to learn from, at most", check=at_least(1))
    width: int = setting(64, "D of the Transformer, even; the others follow from its size", check=at_least(2))
    steps: int = setting(1000, "updates of each model", check=at_least(2))
    goal: float = setting(4.0, "loss in nats per token that the time to is measured", check=above(0.0))


def measure_dates(settings: LadderSettings) -> Numbers:
    """See `measure`."""
    return measure(settings, None, settings.locales)


def measure_sentences(settings: TranslationSettings) -> Numbers:
    """See `measure`.

    Raises:
        UserError: no folder is given, or it does not hold sentences.
    """
    if settings.data is None:
        raise problem(
            "translation needs sentences", got="no --data", expected=pairs.FOLDER_HOLDS, do="Point --data=DIR to it."
        )
    return measure(settings, settings.data, ())


def measure(settings: Any, folder: str | None, locales: tuple[str, ...]) -> Numbers:
    """Rung -> quality of each seed, by quarter of the source lengths too, and the curve of the loss against time."""
    sizes = dict(examples=settings.examples, held_out=settings.held_out, longest=settings.longest)
    held = pairs.read_pairs(folder, locales=locales, **sizes)
    special = {"vocab_size": held.vocabulary, "width": settings.width, **ROWS[TRANSFORMER]}
    size = number_of_parameters(transformer.build(special))
    models = {name: of_size(row, held.vocabulary, size, name) for name, row in ROWS.items()}
    lengths_N = np.array([len(source) for source, _ in held.check])
    quarter_N = np.searchsorted(np.quantile(lengths_N, (0.25, 0.5, 0.75)), lengths_N)
    inside = [q for q in range(QUARTERS) if np.any(quarter_N == q)]
    options = dict(quarter_N=quarter_N, inside=inside, translates=folder is not None)
    return {
        "data": "dates" if folder is None else "sentences",
        "goal": settings.goal,
        "length_Q": [float(lengths_N[quarter_N == q].mean()) for q in inside],
        "rungs": {name: climb(name, model, held, settings, **options) for name, model in models.items()},
    }


def climb(
    name: str,
    model: Model,
    held: pairs.Pairs,
    settings: Any,
    *,
    quarter_N: np.ndarray,
    inside: Sequence[int],
    translates: bool,
) -> dict[str, Any]:
    """One rung, at its better learning rate; with `translates`, BLEU too."""
    data, check = (
        jax.tree.map(jnp.asarray, pairs.posed(held, part, model.config.architecture))
        for part in (held.train, held.check)
    )
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=settings.rates, name=name)
    trained = train_lanes(model, pairs.drawn(settings.batch), data, **options)
    found = trained.each(lambda params: pairs.readings(model, params, check))
    right, said = found["right_N"], found["said_N"]
    at = best_rate(found["nats_N"].sum(-1) / said.sum(-1))
    exact_RN = np.where(np.isnan(right[at]), np.nan, right[at] >= said[at])
    mean_of = lambda rows: exact_RN[:, rows].mean(1)  # noqa: E731
    lanes = len(settings.rates) * len(settings.seeds)
    return {
        **({"bleu_R": translated(model, trained, held, at)} if translates else {}),
        "rate": settings.rates[at],
        "width": model.config.width,
        "parameters": number_of_parameters(model),
        "exact_R": exact_RN.mean(1),
        "accuracy_R": right[at].sum(1) / said[at].sum(1),
        "exact_QR": np.stack([mean_of(quarter_N == q) for q in inside]),
        "accuracy_QR": np.stack(
            [right[at][:, quarter_N == q].sum(1) / said[at][:, quarter_N == q].sum(1) for q in inside]
        ),
        "loss_RU": smooth(trained.loss_ARU[at]),
        "seconds_an_update": trained.seconds / settings.steps / lanes,
    }


def translated(model: Model, trained: Trained, held: pairs.Pairs, at: int) -> list[float]:
    """BLEU of what each seed writes for the held-out sources, at one of the learning rates."""
    prompts = jax.tree.map(jnp.asarray, pairs.asked(held, held.check, model.config.architecture))
    said_RNM = trained.each(lambda params: pairs.written(model, params, prompts, held.slots))[at]
    right = pairs.texts_of(held, [target for _, target in held.check])
    diverged = lambda said_NM: np.isnan(said_NM).any()  # noqa: E731
    return [
        float("nan") if diverged(said_NM) else bleu(pairs.texts_of(held, said_NM.astype(int)), right, "13a")[0]
        for said_NM in said_RNM
    ]


def smooth(loss_RU: np.ndarray) -> np.ndarray:
    """The mean of each SMOOTH updates (of all, where there are fewer) up to each; the first are of fewer."""
    total = np.cumsum(loss_RU, axis=1)
    before = np.pad(total, ((0, 0), (SMOOTH, 0)))[:, : total.shape[1]]
    return (total - before) / np.minimum(np.arange(total.shape[1]) + 1, SMOOTH)


def draw(numbers: Numbers) -> Figure:
    rungs = numbers["rungs"]
    figure, grid = panels(3, width=4.0, height=3.4)
    names = list(rungs)
    translated = all("bleu_R" in row for row in rungs.values())
    reading, label = ("bleu_R", "BLEU") if translated else ("exact_R", "exact match (share of pairs)")
    bars(grid[0, 0], names, np.array([rungs[name][reading] for name in names], float))
    grid[0, 0].set_xlim(0.0, None if translated else 1.0)
    finish(grid[0, 0], f"held-out {numbers['data']}", label, "")
    for i, (name, row) in enumerate(rungs.items()):
        curve(grid[0, 1], numbers["length_Q"], np.asarray(row["accuracy_QR"], float), name, i)
        loss_RU = np.asarray(row["loss_RU"], float)
        every = max(loss_RU.shape[1] // 100, 1)
        seconds = (np.arange(loss_RU.shape[1]) + 1) * row["seconds_an_update"]
        curve(grid[0, 2], seconds[::every], loss_RU.T[::every], name, i, points=False)
    finish(grid[0, 1], "by quarter of the source lengths", "source length (tokens)", "tokens right (share)")
    grid[0, 2].axhline(numbers["goal"], color="black", linestyle=":", linewidth=1.0)
    grid[0, 2].set_yscale("log")
    finish(grid[0, 2], "training (dotted: the goal)", "time (s)", "loss (nats per token)")
    lines, labels = grid[0, 2].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    return figure


LADDER = Study(
    title="From RNN to Transformer, rung by rung, at one number of parameters: dates",
    settings=LadderSettings,
    measure=measure_dates,
    judge=judge,
    draw=draw,
    cost="28 min beside the tests",
    preview={"steps": 60, "examples": 2000, "held_out": 128, "seeds": (0,)},
)
TRANSLATION = Study(
    title="From RNN to Transformer, rung by rung, at one number of parameters: sentences",
    settings=TranslationSettings,
    measure=measure_sentences,
    judge=judge,
    draw=draw,
    cost="37 min at 500 updates and one rate, beside other jobs",
    preview={"steps": 60, "examples": 2000, "held_out": 128, "seeds": (0,)},
    needs="data",
)
