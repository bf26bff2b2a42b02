"""Ladder: from a recurrent translator to the Transformer, rung by rung, at one number of parameters.

    RNN                      the decoder sees the last states alone      Sutskever et al. 2014, arXiv:1409.3215
    RNN + attention          it looks back at every state                Bahdanau et al. 2015, arXiv:1409.0473
    attention alone          cross-attention layers, nothing else
    ... + self-attention     one layer of it on each side
    Transformer              self-attention, cross-attention and feed-forward; Vaswani et al. 2017, arXiv:1706.03762
    decoder-only             one sequence: source, separator, answer
    encoder-only             source and mask slots, all filled at once

Exact match: all tokens of an answer are right, each given the right ones before it, which is when the greedy answer is.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies import pairs
from experiments.studies.pictures import bars, curve, finish, panels
from experiments.studies.study import DIFFERS, HOLDS, Claim, Numbers, Study, StudySettings, above_zero, split, spread
from experiments.studies.training import Trained, best, number_of_parameters, train_lanes
from experiments.training.bleu import bleu
from transformer import Model
from transformer.errors import problem
from transformer.schema import Check, above, at_least, setting

EQUAL = 0.05
"""Numbers of parameters may differ by this share of the Transformer's."""
SMOOTH = 20
"""Updates over which the loss that is trained on is averaged."""
QUARTERS = 4
ROWS: dict[str, Mapping[str, Any]] = {
    "RNN": {"architecture": "rnn_seq2seq", "num_layers": 1, "recurrent": {"attention": "none"}},
    "RNN + attention": {"architecture": "rnn_seq2seq", "num_layers": 1, "num_heads": 1},
    "attention alone": {"self_attention": False, "feed_forward_width": 0, "num_layers": 2, "num_heads": 2},
    "attention alone, self too": {"feed_forward_width": 0, "num_layers": 1, "num_heads": 2},
    "Transformer": {"num_layers": 2, "num_heads": 2},
    "decoder-only": {"architecture": "decoder_only", "num_layers": 4, "num_heads": 2},
    "encoder-only": {"architecture": "encoder_only", "num_layers": 4, "num_heads": 2},
}
"""Rung -> what is special about its model; widths are even."""
RNN, ATTENDING, ALONE, SELF_TOO, TRANSFORMER, DECODER, ENCODER = ROWS


PUBLISHED = {ATTENDING: 28.2, TRANSFORMER: 36.1}
"""BLEU on the whole test set of 2016 of Multi30k, de to en, for orientation: larger models, trained to their end."""
some_rates = Check(lambda rates: len(rates) > 0 and min(rates) > 0 and len(set(rates)) == len(rates), "some, above 0")


@dataclasses.dataclass(frozen=True)
class LadderSettings(StudySettings):
    """From RNN to Transformer at one size: python -m experiments.studies ladder --data=DIR"""

    data: str | None = setting(None, pairs.FLAG)
    locales: tuple[str, ...] = setting(("en_US", "de", "fr", "es"), "locales that dates are written in")
    examples: int = setting(20_000, "pairs to learn from, at most", check=at_least(1))
    held_out: int = setting(512, "pairs that are held out, at most; of dates, on days of their own", check=at_least(4))
    longest: int = setting(48, "pairs with more tokens on a side are left out", check=at_least(2))
    width: int = setting(48, "D of the Transformer, even; the others follow from its size", check=at_least(2))
    batch: int = setting(32, "pairs of an update", check=at_least(1))
    steps: int = setting(600, "updates of each model", check=at_least(2))
    rates: tuple[float, ...] = setting((2e-3, 5e-3), "learning rates; the better one counts", check=some_rates)
    goal: float = setting(0.3, "loss in nats per token that the time to is measured", check=above(0.0))


def of_size(special: Mapping[str, Any], vocabulary: int, size: int, name: str) -> Model:
    """The model of a rung whose even width brings it nearest to a number of parameters.

    Raises:
        UserError: no width brings it near enough.
    """
    build = lambda width: transformer.build({"vocab_size": vocabulary, "width": width, **special})  # noqa: E731
    some = (8, 16, 24)
    # The number of parameters is a polynomial of the width, of degree two.
    count = np.polynomial.Polynomial.fit(some, [number_of_parameters(build(width)) for width in some], 2)
    widths = np.arange(2, 2 * int(size**0.5), 2)
    found = build(int(widths[np.abs(count(widths) - size).argmin()]))
    if abs(number_of_parameters(found) - size) > EQUAL * size:
        raise problem(
            f"no even width gives the rung {name!r} as many parameters as the Transformer has",
            got=f"{number_of_parameters(found):,}",
            expected=f"{size:,} within {EQUAL:.0%}",
            do="Choose a larger --width.",
        )
    return found


def measure(settings: LadderSettings) -> Numbers:
    """Rung -> quality of each seed, by quarter of the source lengths too, and the curve of the loss against time."""
    held = pairs.read_pairs(
        settings.data,
        locales=settings.locales,
        examples=settings.examples,
        held_out=settings.held_out,
        longest=settings.longest,
    )
    special = {"vocab_size": held.vocabulary, "width": settings.width, **ROWS[TRANSFORMER]}
    size = number_of_parameters(transformer.build(special))
    models = {name: of_size(row, held.vocabulary, size, name) for name, row in ROWS.items()}
    lengths_N = np.array([len(source) for source, _ in held.check])
    quarter_N = np.searchsorted(np.quantile(lengths_N, (0.25, 0.5, 0.75)), lengths_N)
    inside = [q for q in range(QUARTERS) if np.any(quarter_N == q)]
    rungs = {name: climb(name, model, held, settings, quarter_N, inside) for name, model in models.items()}
    return {
        "data": "dates" if settings.data is None else "sentences",
        "goal": settings.goal,
        "length_Q": [float(lengths_N[quarter_N == q].mean()) for q in inside],
        "rungs": rungs,
    }


def climb(
    name: str, model: Model, held: pairs.Pairs, settings: LadderSettings, quarter_N: np.ndarray, inside: Sequence[int]
) -> dict[str, Any]:
    """One rung, at its better learning rate."""
    data, check = (
        jax.tree.map(jnp.asarray, pairs.posed(held, part, model.config.architecture))
        for part in (held.train, held.check)
    )
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=settings.rates, name=name)
    trained = train_lanes(model, pairs.drawn(settings.batch), data, **options)
    found = trained.each(lambda params: pairs.readings(model, params, check))
    right, said = found["right_N"], found["said_N"]
    at = best(found["nats_N"].sum(-1) / said.sum(-1))
    exact_RN = np.where(np.isnan(right[at]), np.nan, right[at] >= said[at])
    mean_of = lambda rows: exact_RN[:, rows].mean(1)  # noqa: E731
    lanes = len(settings.rates) * len(settings.seeds)
    bleu = {} if settings.data is None else {"bleu_R": translated(model, trained, held, at)}
    return {
        **bleu,
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


def times(row: Mapping[str, Any], goal: float) -> np.ndarray:
    """Seconds of each seed until the loss that is trained on is at the goal; infinity: it never is."""
    there_RU = np.asarray(row["loss_RU"], float) <= goal
    updates_R = np.where(there_RU.any(1), there_RU.argmax(1) + 1, np.inf)
    return updates_R * row["seconds_an_update"]


def sooner(a_R: np.ndarray, b_R: np.ndarray) -> bool:
    """Whether all seeds of a arrive, and sooner than b by more than the interval, or b does not always."""
    return bool(np.all(np.isfinite(a_R))) and (not np.all(np.isfinite(b_R)) or above_zero(b_R - a_R))


def judge(numbers: Numbers) -> Sequence[Claim]:
    rungs = numbers["rungs"]
    accuracy = {name: np.asarray(row["accuracy_R"], float) for name, row in rungs.items()}
    exact = {name: np.asarray(row["exact_R"], float) for name, row in rungs.items()}
    seeds = len(accuracy[RNN])
    written = lambda n: f", BLEU {spread(rungs[n]['bleu_R'])}" if "bleu_R" in rungs[n] else ""  # noqa: E731
    told = lambda names: "; ".join(  # noqa: E731
        f"{n}: {spread(accuracy[n])}, exact {spread(exact[n])}{written(n)}" for n in names
    )
    better = lambda a, b: above_zero(accuracy[a] - accuracy[b])  # noqa: E731
    order = (RNN, ATTENDING, ALONE, SELF_TOO, TRANSFORMER)
    steps = {f"{a} becomes {b}": better(b, a) for a, b in itertools.pairwise(order)}
    sizes = [row["parameters"] for row in rungs.values()]
    same = f"{min(sizes):,} to {max(sizes):,} parameters (" + ", ".join(
        f"{name} {row['parameters']:,} at D = {row['width']}" for name, row in rungs.items()
    )
    ladder = Claim(
        said="Each step from the RNN to the Transformer is one up",
        **split(steps),
        criterion="tokens right on held-out pairs rise by more than the interval, each at its better learning rate",
        measured=f"{same}): {told(order)}",
        instead="At one size and budget: which step pays is a matter of the task and of both.",
        seeds=seeds,
    )
    enough = Claim(
        said="Attention is all you need: without recurrence and feed-forward it does as well",
        **split({name: not better(TRANSFORMER, name) for name in (ALONE, SELF_TOO)}, word="it is "),
        criterion="tokens right are not below the Transformer's by more than the interval",
        measured=told((ALONE, SELF_TOO, TRANSFORMER)),
        instead="The paper's title is about recurrence: its model has feed-forward layers and needs positions.",
        seeds=seeds,
    )
    by_length = {name: np.asarray(row["accuracy_QR"], float) for name, row in rungs.items()}
    falls = {name: x[0] - x[-1] for name, x in by_length.items()}
    shortest, longest = numbers["length_Q"][0], numbers["length_Q"][-1]
    told = (
        f"tokens right in the quarter of the shortest sources ({shortest:.0f} tokens) less those of the longest "
        f"({longest:.0f}): " + ", ".join(f"{name} {spread(falls[name], signed=True)}" for name in order)
    )
    long = Claim(
        said="An RNN without attention reads long sources worse than short ones",
        found=HOLDS if above_zero(falls[RNN]) else DIFFERS,
        criterion="the difference is above 0 by more than the interval",
        measured=told,
        instead="Where it is so, lengths are lengths of these data, and long sources may be harder in themselves.",
        seeds=seeds,
    )
    mended = Claim(
        said="With attention an RNN does not lose on long sources what it loses without",
        found=HOLDS if above_zero(falls[RNN] - falls[ATTENDING]) else DIFFERS,
        criterion="the difference with attention is below that without by more than the interval",
        measured=f"without - with: {spread(falls[RNN] - falls[ATTENDING], signed=True)}",
        instead="The last state has one size for every length; states that are looked up are as many as tokens.",
        seeds=seeds,
    )
    return [ladder, enough, long, mended, *judge_speed(numbers, accuracy, seeds), *judge_translations(rungs, seeds)]


def judge_speed(numbers: Numbers, accuracy: Mapping[str, np.ndarray], seeds: int) -> Sequence[Claim]:
    took = {name: times(row, numbers["goal"]) for name, row in numbers["rungs"].items()}
    arrival = lambda x: spread(x) + " s" if np.all(np.isfinite(x)) else "not reached by every seed"  # noqa: E731
    faster = Claim(
        said="A Transformer trains faster than an RNN",
        **split({f"the RNN is {name}": sooner(took[TRANSFORMER], took[name]) for name in (RNN, ATTENDING)}),
        criterion=f"every seed trains to {numbers['goal']:g} nats per token sooner, by more than the interval, or "
        "not every seed of the RNN arrives",
        measured="; ".join(f"{name}: {arrival(x)}" for name, x in took.items()),
        instead="Of short sequences on few cores, all padded to one length; steps over time cost an accelerator more.",
        seeds=seeds,
    )
    gaps = {
        f"the other is {name}": not np.isnan(accuracy[name]).any()
        and not above_zero(accuracy[name] - accuracy[TRANSFORMER])
        and not above_zero(accuracy[TRANSFORMER] - accuracy[name])
        for name in (DECODER, ENCODER)
    }
    alike = Claim(
        said="Encoder-decoder, decoder-only and encoder-only do the same task equally well",
        **split(gaps),
        criterion="tokens right differ from those of the encoder-decoder by no more than the interval",
        measured="; ".join(f"{name} {spread(accuracy[name])}" for name in (TRANSFORMER, DECODER, ENCODER)),
        instead="All three can be trained for it; in one number of updates they do not come equally far.",
        seeds=seeds,
    )
    return [faster, alike]


def judge_translations(rungs: Mapping[str, Any], seeds: int) -> Sequence[Claim]:
    """Of sentences only."""
    if "bleu_R" not in rungs[TRANSFORMER]:
        return []
    gain = np.asarray(rungs[TRANSFORMER]["bleu_R"], float) - np.asarray(rungs[ATTENDING]["bleu_R"], float)
    claim = Claim(
        said="A Transformer translates better than an RNN with attention",
        found=HOLDS if above_zero(gain) else DIFFERS,
        criterion="BLEU of held-out pairs, written greedily, is higher by more than the interval",
        measured=f"BLEU, Transformer - RNN + attention: {spread(gain, signed=True)}",
        instead="Published for Multi30k, de to en: "
        + ", ".join(f"{name} {score}" for name, score in PUBLISHED.items())
        + " BLEU; of larger models that were trained to their end, so of another point of the curve.",
        seeds=seeds,
    )
    return [claim]


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
    finish(grid[0, 2], "training (dotted: the goal)", "time (s)", "loss (nats per token)", legend=True)
    return figure


LADDER = Study(
    title="From RNN to Transformer, rung by rung, at one number of parameters",
    settings=LadderSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="some minutes, not timed yet",
    preview={"steps": 60, "examples": 2000, "held_out": 128, "seeds": (0,)},
)
