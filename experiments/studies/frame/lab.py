"""The lanes of an experiment, trained when they are first needed and kept in the store.

The learning rate of an arm is chosen at 1x the updates, on seeds and held-out batches of its own: of a grid, the rate
with the least mean loss. A grid whose end is the best grows by a factor of about three, at most GROWTH times each way,
unless the rate next to the end is as good.
"""

import datetime
import functools
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.storage.workdir import git_state
from experiments.studies.frame.experiment import LOSS, Baseline, Experiment, Question, stacked_batches
from experiments.studies.frame.store import Line, Store, plain
from experiments.studies.frame.training import Monitor, Readings, Trainer, arrived, number_of_parameters, readings_of

RATE_SEEDS = (1000, 1001)
"""Seeds of the lanes by which a learning rate is chosen; claims are decided by seeds 0, 1, ..."""
GROWTH = 2
"""Most rates that are added to a grid at each end."""
FLAT = 0.01
"""Difference of losses (nats per token) below which the rate next to the end of a grid is as good, and is taken."""
AT_ONCE = 4
"""Lanes of one program: each is stored when all are trained."""
POINTS = 8
"""Readings of the curve of a lane."""
WARMUP = 0.05
"""Warm-up as a share of the updates, where an arm has none of its own."""


class OutOfTimeError(Exception):
    """The end of the time that a study was given."""


class Rate(NamedTuple):
    """The learning rate of an arm."""

    value: float
    inside: bool
    """True if rates on both sides of it were tried, or if the study fixes it."""
    losses: dict[float, float]
    """Rate -> mean loss; infinite where a seed diverged."""


class Facts(NamedTuple):
    """Record of an arm, by which its lanes are found and judged without its data."""

    fingerprint: str
    """A checksum of its settings and batches."""
    settings: Mapping[str, Any]
    """All settings that may change the result."""
    parameters: int
    """The number of parameters of its model."""
    baselines: Mapping[str, Baseline]
    """Metric -> trivial predictions."""


class Lab:
    """The lanes of one study.

    Attributes:
        experiment: arms and questions.
        store: the lanes that are known.
        facts: what is known of each arm; those of a record, so that nothing is built for them, or built when needed.
        train: train lanes that are not in the store; False: they are missing.
        minutes: time after which no lane is begun; 0: unlimited.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        *,
        facts: Mapping[str, Facts] | None = None,
        train: bool = False,
        minutes: float = 0.0,
    ) -> None:
        """Make the lab of an experiment."""
        self.experiment, self.store, self.train = experiment, store, train
        self.facts: dict[str, Facts] = dict(facts or {})
        self.end = time.monotonic() + 60.0 * minutes if minutes else math.inf
        self.trainee = functools.cache(lambda arm: experiment.arms[arm]())
        self.scored = functools.cache(self._scored)
        self.extra = functools.cache(self._extra)
        self.trainer = functools.cache(self._trainer)

    def of(self, arm: str) -> Facts:
        """Return what is known of an arm."""
        if arm not in self.facts:
            own = self.trainee(arm)
            count = number_of_parameters(own.model)
            self.facts[arm] = Facts(own.fingerprint(), plain(own.resolved()), count, own.baselines)
        return self.facts[arm]

    def check_time(self) -> None:
        """Raise OutOfTimeError after the end."""
        if time.monotonic() > self.end:
            raise OutOfTimeError

    def fix(self, question: Question, looks: Sequence[int]) -> None:
        """Write down what a question has fixed, once its arms are built and before its first lane is trained."""
        if not self.train:
            return
        self.check_time()
        for arm in question.arms:
            self.of(arm)
        if question.number not in self.store.criteria:
            fixed = question.criterion(self.experiment.updates, looks)
            self.store.add({"criterion": question.number, "fixed": fixed, "when": _now()})

    def rate(self, arm: str) -> Rate | None:
        """Choose the learning rate of an arm; None where lanes are missing."""
        fixed = self.experiment.fixed.get(arm)
        rates = list(self.experiment.rates) if fixed is None else [fixed]
        for _ in range(2 * GROWTH + 1):
            losses = {}
            wanted = [(rate, seed) for rate in rates for seed in RATE_SEEDS]
            lanes = self.lanes(arm, self.experiment.updates, wanted, final=False)
            if lanes is None:
                return None
            for rate in rates:
                found = [lane["choice"][LOSS] for lane in lanes if lane["rate"] == rate]
                losses[rate] = float(np.mean([x if math.isfinite(x) else math.inf for x in found]))
            if fixed is not None:
                return Rate(fixed, True, losses)
            best = min(rates, key=lambda rate: losses[rate])
            at = rates.index(best)
            if not math.isfinite(losses[best]):
                return Rate(best, False, losses)
            if 0 < at < len(rates) - 1:
                return Rate(best, True, losses)
            within = rates[1] if at == 0 else rates[-2]
            if losses[within] - losses[best] < FLAT:
                return Rate(within, True, losses)
            following = _next_rate(best, up=at > 0)
            low, high = self.experiment.rates[0], self.experiment.rates[-1]
            if not low / 3.5**GROWTH / 1.1 <= following <= high * 3.5**GROWTH * 1.1:
                break
            rates = sorted([*rates, following])
        return Rate(best, False, losses)

    def scores(self, arm: str, updates: int, count: int) -> list[Line] | None:
        """Return the lanes of an arm at its learning rate, of seeds 0 to count - 1; None where some are missing."""
        rate = self.rate(arm)
        return None if rate is None else self.lanes(arm, updates, [(rate.value, seed) for seed in range(count)])

    def lanes(
        self, arm: str, updates: int, wanted: Sequence[tuple[float, int]], *, final: bool = True
    ) -> list[Line] | None:
        """Return lanes by (rate, seed), and train those that are not in the store; None where some stay missing.

        Args:
            final: score them on the test batches; False: on those of the choice alone.

        Raises:
            OutOfTimeError: a lane would be begun after the end.
        """
        if not (self.train or self.store.lanes):
            return None
        keys = {pair: self.key(arm, updates, *pair, final) for pair in wanted}
        missing = [pair for pair, key in keys.items() if key not in self.store.lanes]
        if missing and not self.train:
            return None
        for start in range(0, len(missing), AT_ONCE):
            self.check_time()
            self._run(arm, updates, missing[start : start + AT_ONCE], final)
        return [self.store.lanes[key] for key in keys.values()]

    def key(self, arm: str, updates: int, rate: float, seed: int, final: bool) -> str:
        """Return the key of a lane: a checksum of all that its numbers depend on."""
        parts = [self.of(arm).fingerprint, updates, rate, seed, final]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _scored(self, arm: str) -> Readings:
        """Compile the scores of an arm: (sum, count) of each metric and batch, K."""
        own = self.trainee(arm)

        def scored(params: Any, batches: Any) -> Any:
            params = own.prepare(own.model, params) if own.prepare else params
            return jax.lax.map(lambda batch: own.score(own.model, params, batch), batches)

        return readings_of(scored)

    def _extra(self, arm: str) -> Readings | None:
        """Compile the further readings of an arm; None where it has none."""
        own = self.trainee(arm)
        return None if own.extra is None else readings_of(lambda params, batches: own.extra(own.model, params))

    def _trainer(self, arm: str) -> Trainer:
        """Make the trainer of an arm."""
        own = self.trainee(arm)
        return Trainer(own.model, own.sample, own.data, own.optimizer, lanes=AT_ONCE)

    def _run(self, arm: str, updates: int, pairs: Sequence[tuple[float, int]], final: bool) -> None:
        """Train lanes, and add their lines to the store."""
        own, began = self.trainee(arm), time.monotonic()
        every = max(updates // POINTS, 1)
        points = range(updates - (updates - every) // every * every, updates + 1, every)
        scored, choice = self.scored(arm), stacked_batches(own.choice)
        trained = self.trainer(arm)(
            pairs,
            steps=updates,
            warmup=round(WARMUP * updates) if own.warmup is None else own.warmup,
            smoothing=own.smoothing,
            monitor=Monitor(scored, choice, points),
        )
        alive_R = ~np.isnan(trained.loss_RU[:, -1])
        test = arrived(scored(trained.params, stacked_batches(own.test)), alive_R) if final else {}
        read = self.extra(arm) if final else None
        extra = arrived(read(trained.params, ()), alive_R) if read is not None else {}
        seconds = trained.seconds / len(pairs)
        state = git_state() or {}
        for i, (rate, seed) in enumerate(pairs):
            rows = [{name: _ratio(sums[i], counts[i]) for name, (sums, counts) in x.items()} for x in trained.curve]
            curve = {name: [row[name] for row in rows] for name in rows[-1]}
            line = {
                "lane": self.key(arm, updates, rate, seed, final),
                "print": self.of(arm).fingerprint,
                "arm": arm,
                "updates": updates,
                "rate": rate,
                "seed": seed,
                "choice": rows[-1],
                "curve": {"updates": list(points), **curve},
                "train": binned(trained.loss_RU[i], POINTS).tolist(),
                "test": {name: [sums[i].tolist(), counts[i].tolist()] for name, (sums, counts) in test.items()},
                "extra": {name: x[i].tolist() for name, x in extra.items()},
                "seconds": seconds,
                "commit": state.get("commit", ""),
                "clean": bool(state.get("clean")),
                "device": jax.devices()[0].device_kind,
                "when": _now(),
            }
            self.store.add(plain(line))
        rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rate for rate, _ in pairs))
        loss = ", ".join(f"{_ratio(sums, counts):.4g}" for sums, counts in zip(*trained.curve[-1][LOSS], strict=True))
        taken = time.monotonic() - began
        print(
            f"  {arm}: {updates} updates, rate {rates}, seeds {', '.join(str(s) for _, s in pairs)}: loss {loss}; "
            f"{taken:.0f} s",
            flush=True,
        )


def _ratio(sums: np.ndarray, counts: np.ndarray) -> float:
    """Compute the ratio of the sums of all batches."""
    return float(np.sum(sums) / np.sum(counts))


def binned(loss_U: np.ndarray, points: int) -> np.ndarray:
    """Average a curve in so many parts."""
    return np.array([part.mean() for part in np.array_split(loss_U, min(points, len(loss_U)))])


def _next_rate(rate: float, *, up: bool) -> float:
    """Return the next rate of the row 1, 3, 10, 30, ..., up or down."""
    exponent = round(2.0 * math.log10(rate)) + (1 if up else -1)
    return float(f"{10.0 ** (exponent / 2.0):.1g}")


def _now() -> str:
    """Return the time, to the minute."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
