"""Ladder: from a recurrent translator to the Transformer, rung by rung (see `parts.rungs`), on dates or on sentences.

Exact match: all tokens of an answer are correct, each given the reference before it; the greedy answer is then correct.
BLEU is that of greedy answers against the one reference, by sacreBLEU's tokenizer 13a.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, MOST_STEPS, Numbers, Study, StudySettings
from experiments.studies.frame.pictures import bars, curve, finish, panels
from experiments.studies.frame.training import Trained, best_rate, number_of_parameters, train_lanes
from experiments.studies.parts import pairs
from experiments.studies.parts.ladder_claims import judge
from experiments.studies.parts.rungs import ROWS, TRANSFORMER, of_size
from experiments.training.corpus_scores import corpus_score
from transformer import Model
from transformer.errors import problem
from transformer.schema import above, at_least, each, setting

SMOOTH = 20
"""Updates over which the training loss is averaged."""
QUARTERS = 4
"""Groups of the held-out pairs by source length."""
some_rates = each(1e-12, 1e6, "different numbers", lambda rates: 0 < len(rates) == len(set(rates)))


@dataclasses.dataclass(frozen=True)
class RungSettings(StudySettings):
    """Settings of both ladders."""

    held_out: int = setting(
        512, "largest number of held-out pairs; dates: of other days", check=at_least(4, MOST_STEPS)
    )
    longest: int = setting(
        48, "most tokens of a source or a target; longer pairs are left out", check=at_least(2, MOST)
    )
    batch: int = setting(32, "pairs per update", check=at_least(1, MOST))
    rates: tuple[float, ...] = setting((2e-3, 5e-3), "learning rates; the best one counts", check=some_rates)


@dataclasses.dataclass(frozen=True)
class LadderSettings(RungSettings):
    """Ladder from RNN to Transformer at one size, on dates: python -m experiments.studies ladder --locales=de,fi"""

    locales: tuple[str, ...] = setting(pairs.LOCALES, "CLDR locales of the dates")
    examples: int = setting(20_000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    width: int = setting(
        48, "width D of the Transformer, even; the other rungs get its number of parameters", check=at_least(2, MOST)
    )
    steps: int = setting(600, "updates per model", check=at_least(2, MOST_STEPS))
    goal: float = setting(
        0.3, "training loss up to which the time is measured (nats per token)", check=above(0.0, 100.0)
    )


@dataclasses.dataclass(frozen=True)
class TranslationSettings(RungSettings):
    """Ladder from RNN to Transformer at one size, on sentences: python -m experiments.studies translation --data=DIR"""

    data: str | None = setting(None, "folder with train.de and train.en, aligned by line, plain or .gz; must be given")
    examples: int = setting(29_000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    width: int = setting(
        64, "width D of the Transformer, even; the other rungs get its number of parameters", check=at_least(2, MOST)
    )
    steps: int = setting(1000, "updates per model", check=at_least(2, MOST_STEPS))
    goal: float = setting(
        4.0, "training loss up to which the time is measured (nats per token)", check=above(0.0, 100.0)
    )


def measure_dates(settings: LadderSettings) -> Numbers:
    """Measure the rungs on dates; see `measure`."""
    return measure(settings, None, settings.locales)


def measure_sentences(settings: TranslationSettings) -> Numbers:
    """Measure the rungs on the sentences of a folder; see `measure`.

    Raises:
        UserError: no folder is given, or it does not hold sentences.
    """
    if settings.data is None:
        raise problem(
            "translation needs sentences", got="no --data", expected=pairs.FOLDER, do="Point --data=DIR to it."
        )
    return measure(settings, settings.data, ())


def measure(settings: Any, folder: str | None, locales: tuple[str, ...]) -> Numbers:
    """Train each rung: its quality, also by quarter of the source lengths, and its loss against time."""
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
        "rungs": {name: measure_rung(name, model, held, settings, **options) for name, model in models.items()},
    }


def measure_rung(
    name: str,
    model: Model,
    held: pairs.Pairs,
    settings: Any,
    *,
    quarter_N: np.ndarray,
    inside: Sequence[int],
    translates: bool,
) -> dict[str, Any]:
    """Train one rung: its readings at its best learning rate; with `translates`, BLEU too."""
    data, check = (
        jax.tree.map(jnp.asarray, pairs.as_batch(held, part, model.config.architecture))
        for part in (held.train, held.check)
    )
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=settings.rates, name=name)
    trained = train_lanes(model, pairs.sampler(settings.batch), data, **options)
    found = trained.each(lambda params: pairs.score_pairs(model, params, check))
    at = best_rate(found["nats_N"].sum(-1) / found["tokens_N"].sum(-1))
    correct_RN, tokens_RN = found["correct_N"][at], found["tokens_N"][at]
    exact_RN = np.where(np.isnan(correct_RN), np.nan, correct_RN >= tokens_RN)
    quarters = [quarter_N == q for q in inside]
    lanes = len(settings.rates) * len(settings.seeds)
    return {
        **({"bleu_R": bleu_scores(model, trained, held, at)} if translates else {}),
        "rate": settings.rates[at],
        "width": model.config.width,
        "parameters": number_of_parameters(model),
        "exact_R": exact_RN.mean(1),
        "accuracy_R": correct_RN.sum(1) / tokens_RN.sum(1),
        "exact_QR": np.stack([exact_RN[:, rows].mean(1) for rows in quarters]),
        "accuracy_QR": np.stack([correct_RN[:, rows].sum(1) / tokens_RN[:, rows].sum(1) for rows in quarters]),
        "loss_RU": smooth(trained.loss_ARU[at]),
        "seconds_an_update": trained.seconds / settings.steps / lanes,
    }


def bleu_scores(model: Model, trained: Trained, held: pairs.Pairs, at: int) -> list[float]:
    """Compute the BLEU of each seed's greedy answers to the held-out sources, at one of the learning rates."""
    prompts = jax.tree.map(jnp.asarray, pairs.as_prompts(held, held.check, model.config.architecture))
    length = held.max_answer_length
    answers_RNM = trained.each(lambda params: pairs.decode_greedily(model, params, prompts, length))[at]
    references = pairs.decode_targets(held, [target for _, target in held.check])
    found = []
    for answers_NM in answers_RNM:
        diverged = np.isnan(answers_NM).any()
        texts = [] if diverged else pairs.decode_targets(held, answers_NM.astype(int))
        found.append(float("nan") if diverged else corpus_score("bleu", texts, references, "13a")[0])
    return found


def smooth(loss_RU: np.ndarray) -> np.ndarray:
    """Average each update with the SMOOTH - 1 before it, or with all, where there are fewer."""
    total = np.cumsum(loss_RU, axis=1)
    before = np.pad(total, ((0, 0), (SMOOTH, 0)))[:, : total.shape[1]]
    return (total - before) / np.minimum(np.arange(total.shape[1]) + 1, SMOOTH)


def draw(numbers: Numbers) -> Figure:
    """Draw the quality of the rungs, their accuracy by source length, and their loss against time."""
    rungs = numbers["rungs"]
    figure, grid = panels(3, width=4.0, height=3.4)
    names = list(rungs)
    translates = all("bleu_R" in row for row in rungs.values())
    reading, label = ("bleu_R", "BLEU") if translates else ("exact_R", "exact match (share of pairs)")
    bars(grid[0, 0], names, np.array([rungs[name][reading] for name in names], float))
    grid[0, 0].set_xlim(0.0, None if translates else 1.0)
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
