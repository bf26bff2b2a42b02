"""The trained part of a study: arms, and the claims that compare them.

    arm        a model, its stream of training batches and its held-out batches, by name
    contrast   the score of some arms less that of others, seed by seed: one case of a claim
    question   a claim: its kind, metric and margin, and its contrasts, all fixed before the runs

A study gives arms and questions; the frame does the rest, the same for all of them: it chooses the learning rate of
each arm, trains the seeds of each look, checks the gates and finds the words (`frame.lab`, `frame.verdicts`).
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.comparing.decision import BETTER
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import OPTIMIZER, Sample
from experiments.training.optimizers import OptimizerConfig
from experiments.training.update import Batch, token_sums
from transformer import Model, schema

RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates that each arm tries first; the grid grows by about a factor of three where its end is the best."""
LOSS, ACCURACY, EXACT, KEPT = "loss", "accuracy", "exact", "kept"
MODES = {LOSS: "min", ACCURACY: "max", EXACT: "max", KEPT: "max"}
"""Metric -> "min" or "max", the direction of better values."""

NATS = Text("nats per token", "奈特每词元")

Score = Callable[[Model, Any, Batch], Mapping[str, tuple[Array, Array]]]
"""A function (model, params, batch) -> metric: (sum, count), whose ratio over batches is the score; traced."""


def token_scores(model: Model, params: Any, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Compute the nats and the right tokens of a batch, each with the number of its tokens."""
    sums = token_sums(model, params, batch)[1]
    return {LOSS: (sums["nats"], sums["tokens"]), ACCURACY: (sums["correct"], sums["tokens"])}


@dataclasses.dataclass(frozen=True)
class Trainee:
    """Arm as it is built: a model, its training batches, and the held-out batches on which it is scored.

    Attributes:
        model: a model from `transformer.build`.
        sample: draws a batch (key, data) -> batch.
        data: the second argument of `sample`, arrays.
        choice: held-out batches, K of one shape, by which the learning rate is chosen and the curve is drawn.
        test: other held-out batches, K of one shape, by which the claims are decided: the items of the bootstrap.
        settings: resolved settings beside those of the model, such as the batch.
        baselines: metric -> the score of trivial predictions that a competent arm beats, with their name.
        score: scores of a batch.
        smoothing: label smoothing of the training loss; None: none.
        optimizer: optimizer, whose learning rate and warm-up the frame sets.
        warmup: warm-up of the learning rate (updates); None: 5 % of the updates.
        prepare: what the score reads in place of the parameters (model, params), such as averages; None: they are.
        extra: further readings of the trained parameters (model, params) -> arrays by name, for claims of the study.
    """

    model: Model
    sample: Sample
    data: Any
    choice: Sequence[Batch]
    test: Sequence[Batch]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, "Baseline"] = dataclasses.field(default_factory=dict)
    score: Score = token_scores
    smoothing: float | None = None
    optimizer: OptimizerConfig = OPTIMIZER
    warmup: int | None = None
    prepare: Callable[[Model, Any], Any] | None = None
    extra: Callable[[Model, Any], Mapping[str, Array]] | None = None

    def resolved(self) -> dict[str, Any]:
        """Return all settings that may change the result, flat: of the model, of training, and the study's own."""
        optimizer = {
            k: v for k, v in schema.to_dict(self.optimizer).items() if k not in ("learning_rate", "warmup_steps")
        }
        training = {"optimizer": optimizer, "warmup": self.warmup, "smoothing": self.smoothing}
        nested = {"model": schema.to_dict(self.model.config), **training}
        return flat({**nested, **self.settings})

    def fingerprint(self) -> str:
        """Return a checksum of platform, settings, the first training batch and all held-out batches."""
        first = jax.jit(self.sample)(jax.random.key(0), self.data)
        digest = hashlib.sha256(
            json.dumps([jax.default_backend(), self.resolved()], sort_keys=True, default=str).encode()
        )
        for leaf in jax.tree.leaves((first, tuple(self.choice), tuple(self.test))):
            digest.update(np.ascontiguousarray(np.asarray(leaf)).tobytes())
        return digest.hexdigest()[:16]


class Baseline(NamedTuple):
    """The score of trivial predictions, which a competent arm beats."""

    score: float
    what: Text
    """Description, such as "counted trigrams"."""


class Reading(NamedTuple):
    """A number of a lane's line that decides in place of a score: more is better."""

    of: Callable[[Mapping[str, Any]], float]
    name: Text


class Contrast(NamedTuple):
    """A case of a claim: the scores of `ours` less those of `others`, seed by seed."""

    name: Text
    """The case; empty for a claim of one case."""
    ours: tuple[str, ...]
    """Names of arms: one, or two for a difference of differences."""
    others: tuple[str, ...] = ()
    """Names of the arms that they are compared with, one by one; none: the claim is about a score itself."""
    changes: tuple[str, ...] = ()
    """Settings in which an arm may differ from its reference; "model.position" allows those below it too."""
    competent: tuple[str, ...] = ()
    """Names of the arms that must beat their baselines; none given: `others`, or `ours` where there are no others."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of all arms."""
        return tuple(dict.fromkeys((*self.ours, *self.others, *self.competent)))

    @property
    def references(self) -> tuple[str, ...]:
        """The names of the arms that must be competent."""
        return self.competent or self.others or self.ours


@dataclasses.dataclass(frozen=True)
class Question:
    """A claim that trained models decide; everything in it is fixed before the runs.

    Attributes:
        number: its place among the claims of the study, from 1.
        said: the sentence.
        instead: the sentence to say instead; a function of the cases' words by contrast and of the numbers, or a text.
        margin: the least difference that matters, in the unit of the metric; for "at least" the value to reach.
        contrasts: its cases.
        kind: a row of `comparing.decision.KINDS`.
        metric: the score that decides.
        unit: the unit of the margin.
        reading: what decides in place of the metric, a number of a lane's line in which more is better, and its name.
    """

    number: int
    said: Text
    instead: Any
    margin: float
    contrasts: tuple[Contrast, ...]
    kind: str = BETTER
    metric: str = LOSS
    unit: Text = NATS
    reading: Reading | None = None

    @property
    def mode(self) -> str:
        """The direction of better values, "min" or "max"."""
        return "max" if self.reading else MODES[self.metric]

    def value(self, lane: Mapping[str, Any]) -> float:
        """Return what decides of a lane: its reading, or its score on the test batches."""
        if self.reading is not None:
            return self.reading.of(lane)
        return score_of(lane, self.metric)

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of all arms."""
        return tuple(dict.fromkeys(name for contrast in self.contrasts for name in contrast.arms))

    def criterion(self, updates: int, looks: Sequence[int]) -> dict[str, Any]:
        """Return what was fixed before the runs, as JSON holds it."""
        contrasts = [{**c._asdict(), "name": c.name.en} for c in self.contrasts]
        metric = self.reading.name.en if self.reading else self.metric
        found = {
            "kind": self.kind,
            "metric": metric,
            "margin": self.margin,
            "contrasts": contrasts,
            "updates": updates,
            "looks": looks,
        }
        return json.loads(json.dumps(found))


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The trained part of a study.

    Attributes:
        arms: name -> the function that builds what is trained; called once, when it is first needed.
        questions: the claims.
        updates: updates per model at 1x.
        rates: learning rates that each arm tries first; rising.
        fixed: arm -> its learning rate, where a claim is about training at that rate; for it none is chosen.
    """

    arms: Mapping[str, Callable[[], Trainee]]
    questions: tuple[Question, ...]
    updates: int
    rates: tuple[float, ...] = RATES
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def loss_unit(self) -> Text:
        """The unit of the held-out loss: that of a claim on the loss itself; without any, nats per token."""
        units = (question.unit for question in self.questions if question.metric == LOSS and not question.reading)
        return next(units, NATS)


def score_of(lane: Mapping[str, Any], metric: str) -> float:
    """Return a lane's score on the test batches."""
    sums, counts = lane["test"][metric]
    return float(np.sum(sums) / np.sum(counts))


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings: names joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differences(ours: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """List the settings in which two arms differ: name -> (the reference's value, ours); settings by `resolved`."""

    def text(value: Any) -> str:
        return json.dumps(value, default=str)

    names = sorted({*ours, *others})
    pairs = {name: (others.get(name), ours.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if text(pair[0]) != text(pair[1])}


def allowed(name: str, changes: Sequence[str]) -> bool:
    """Return whether a setting is one of the changes, or lies below one."""
    return any(name == change or name.startswith(f"{change}.") for change in changes)


def held_out_batches(sample: Sample, data: Any, *, count: int, stream: int) -> list[Batch]:
    """Draw held-out batches of a stream: 2 to choose by, 3 to test; no arm is trained on either."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), stream), count)
    draw = jax.jit(sample)
    return [jax.tree.map(jnp.asarray, draw(key, data)) for key in keys]


def stacked_batches(batches: Sequence[Batch]) -> Batch:
    """Stack batches of one shape, K."""
    return jax.tree.map(lambda *x: jnp.stack(x), *batches)


CHOICE, TEST = 2, 3
"""Streams of held-out batches."""
