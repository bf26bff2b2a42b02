"""Distance: recall of the token that stood d positions ago, against d.

    one sequence    the label of position t is the token at t - d, for t >= d
    a copy          a source of d tokens, then the same tokens: each is written d steps after it was read

Tokens are drawn at random. A model is trained for each rung and each d, at the same settings, on T - d labels of each
sequence, and on about T labels of copies for each sequence, however long they are. A guess is right for 1 / vocabulary
of the labels.
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
from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    MOST,
    MOST_STEPS,
    SHAPE_ONLY,
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    judge_cases,
    spread,
)
from experiments.studies.frame.pictures import curve, finish, panels, powers
from experiments.studies.frame.training import Sample, best_rate, held_out, scores, train_lanes
from experiments.studies.parts.rungs import ATTENDING, RNN, TRANSFORMER
from experiments.training.update import Batch
from transformer.nn.positions import POSITIONS
from transformer.schema import at_least, each, setting

RECALLED = 0.9
"""Accuracy from which on a token counts as recalled."""
RATES = (1e-3, 3e-3)
positive = each(1, MOST, "two or more numbers that rise", lambda d: len(d) > 1 and list(d) == sorted(set(d)))


@dataclasses.dataclass(frozen=True)
class DistanceSettings(StudySettings):
    """Recall of a token against its distance: python -m experiments.studies distance --distance=1,8,32"""

    distance: tuple[int, ...] = setting(
        (1, 4, 16, 32), "distances d from a token to its label (tokens)", check=positive
    )
    length: int = setting(48, "tokens per sequence (T), more than each d", check=at_least(2, MOST))
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))
    steps: int = setting(400, "updates per model", check=at_least(2, MOST_STEPS))


COPIERS: Mapping[str, Mapping[str, Any]] = {
    RNN: {"architecture": "rnn_seq2seq", "recurrent": {"attention": "none"}},
    ATTENDING: {"architecture": "rnn_seq2seq", "num_heads": 1},
    TRANSFORMER: {"architecture": "seq2seq", "num_heads": 2, "position": "sinusoidal"},
}
"""Model settings of the rungs that copy a source."""


def rungs() -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of the models of one sequence: each row of POSITIONS, and a recurrent decoder."""
    found: dict[str, Mapping[str, Any]] = {
        name: {"architecture": "decoder_only", "position": name, "num_heads": 2} for name in POSITIONS
    }
    return {**found, RNN: COPIERS[RNN]}


def recall(batch: int, length: int, vocabulary: int) -> Sample:
    """Return a sampler whose data are d; its source, which a recurrent decoder needs, is constant."""

    def sample(key: Array, distance: Array) -> Batch:
        tokens_BT = jax.random.randint(key, (batch, length), 0, vocabulary, jnp.int32)
        index_T = jnp.arange(length)
        return {
            "source": jnp.zeros((batch, 1), jnp.int32),
            "target": tokens_BT,
            "labels": tokens_BT[:, jnp.maximum(index_T - distance, 0)],
            "loss_weights": jnp.broadcast_to((index_T >= distance).astype(jnp.float32), tokens_BT.shape),
        }

    return sample


def copy(batch: int, distance: int, vocabulary: int) -> Sample:
    """Return a sampler without data: a source of d tokens, and the same as answer. The decoder begins with token V."""

    def sample(key: Array, data: Any) -> Batch:
        tokens_BT = jax.random.randint(key, (batch, distance), 0, vocabulary, jnp.int32)
        begin_B1 = jnp.full((batch, 1), vocabulary, jnp.int32)
        return {
            "source": tokens_BT,
            "target": jnp.concatenate([begin_B1, tokens_BT[:, :-1]], axis=1),
            "labels": tokens_BT,
            "loss_weights": jnp.ones((batch, distance), jnp.float32),
        }

    return sample


def measure(settings: DistanceSettings) -> Numbers:
    """Compute the accuracy D R of each rung at its better learning rate: accuracy_DR of one sequence, copied_DR."""
    V, T = settings.vocabulary, settings.length
    common = dict(vocab_size=V + 1, width=settings.width, num_layers=2)
    one, copied = {}, {}
    for name, special in rungs().items():
        lengths = {"max_length": T} if special.get("position") == "learned" else {}
        model = transformer.build({**common, **lengths, **special})
        sample = recall(settings.batch, T, V)
        rows = [recalled(model, sample, d, settings, f"{name}, d {d}") for d in settings.distance]
        one[name] = np.stack(rows)
    for name, special in COPIERS.items():
        model = transformer.build({**common, **special})
        samples = {d: copy(max(settings.batch * T // d, 1), d, V) for d in settings.distance}
        rows = [recalled(model, sample, d, settings, f"{name}, copy of {d}") for d, sample in samples.items()]
        copied[name] = np.stack(rows)
    return {"distance": settings.distance, "vocabulary": V, "accuracy_DR": one, "copied_DR": copied}


def recalled(model: Any, sample: Sample, distance: int, settings: DistanceSettings, name: str) -> np.ndarray:
    """Train a model, and compute the accuracy of each seed on other sequences."""
    data = jnp.asarray(distance)
    options = dict(seeds=settings.seeds, steps=settings.steps, rates=RATES, name=name)
    trained = train_lanes(model, sample, data, **options)
    found = scores(model, trained, held_out(sample, data, 8))
    return found["accuracy"][best_rate(found["loss"])]


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on one sequence and on copies."""
    found, copied = (
        {name: np.asarray(x, float) for name, x in numbers[key].items()} for key in ("accuracy_DR", "copied_DR")
    )
    nearest, furthest = numbers["distance"][0], numbers["distance"][-1]
    seeds = next(iter(found.values())).shape[1]

    def shares(rows: Mapping[str, np.ndarray], i: int) -> str:
        return "; ".join(f"{name} {spread(x[i])}" for name, x in rows.items())

    cases = {name: name if name == RNN else f"positions are {name}" for name in found}
    any_distance = Claim(
        said="Attention recalls a token however long ago it was",
        **judge_cases({cases[name]: bool(np.all(x[-1] >= RECALLED)) for name, x in found.items() if name != RNN}),
        criterion=f"at the longest distance, {furthest}, {RECALLED:.0%} or more are right, for every seed",
        measured=f"share that is right, d = {furthest}: {shares(found, -1)}",
        instead="The path is as short for every distance, but the distance must be learned: how quickly depends on how "
        "positions are encoded.",
        seeds=seeds,
    )
    harder = Claim(
        said="The longer ago a token was, the worse it is recalled",
        **judge_cases({cases[name]: above_zero(x[0] - x[-1]) for name, x in found.items()}),
        criterion=f"more are right at d = {nearest} than at d = {furthest}, by more than the interval",
        measured=f"share that is right, d = {nearest}: {shares(found, 0)}",
        instead="This is measured after this number of updates; the larger d is, the fewer labels a sequence has.",
        seeds=seeds,
    )
    lost = {name: copied[name][0] - copied[name][-1] for name in COPIERS}
    squeezed = Claim(
        said="An RNN forgets: the longer the source, the less of it its last state holds",
        found=HOLDS if above_zero(lost[RNN] - lost[ATTENDING]) else SHAPE_ONLY if above_zero(lost[RNN]) else DIFFERS,
        criterion=f"from d = {nearest} to d = {furthest} it loses more of the tokens that it copies than the same "
        "model with attention, by more than the interval; shape only: it loses some, but no more than with attention",
        measured="share that is lost: "
        + "; ".join(f"{name} {spread(x, signed=True)}" for name, x in lost.items())
        + f"; right at d = {nearest}: {shares(copied, 0)}",
        instead="This is measured with a state of this size after this number of updates: what it holds is learned.",
        seeds=seeds,
    )
    freed = Claim(
        said="Attention frees the decoder from the distance to what it needs",
        **judge_cases(
            {f"the model is {name}": bool(np.all(copied[name][-1] >= RECALLED)) for name in (ATTENDING, TRANSFORMER)},
        ),
        criterion=f"{RECALLED:.0%} or more of a source of d = {furthest} tokens are copied right, for every seed",
        measured=f"share that is right, d = {furthest}: {shares(copied, -1)}; more than without attention: "
        + "; ".join(f"{n} {spread(copied[n][-1] - copied[RNN][-1], signed=True)}" for n in (ATTENDING, TRANSFORMER)),
        instead="The state that is needed is one step away, but which one it is must be learned, and among random "
        "tokens only positions distinguish the states.",
        seeds=seeds,
    )
    return [any_distance, harder, squeezed, freed]


def draw(numbers: Numbers) -> Figure:
    """Draw the share of tokens recalled against distance, in one sequence and in copies."""
    figure, grid = panels(2, width=4.4, height=3.4)
    titles = {"accuracy_DR": "one sequence (dotted: chance)", "copied_DR": "copy of a source of d tokens"}
    for axes, (key, title) in zip(grid[0], titles.items(), strict=True):
        for i, (name, accuracy_DR) in enumerate(numbers[key].items()):
            curve(axes, numbers["distance"], accuracy_DR, name, i)
        axes.axhline(1.0 / numbers["vocabulary"], color="black", linestyle=":", linewidth=1.0)
        powers(axes, numbers["distance"])
        axes.set_ylim(0.0, 1.05)
        finish(axes, title, "distance d (tokens)", "share of tokens recalled", legend=True)
    return figure


DISTANCE = Study(
    title="Recall of the token that stood d positions ago: ways of encoding positions, with and without attention",
    settings=DistanceSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="25 min beside other jobs",
    preview={"distance": (1, 16), "steps": 100, "seeds": (0,)},
)
