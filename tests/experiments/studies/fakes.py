"""Fake lanes: an experiment whose arms are never built, with scores that a test chooses."""

import numpy as np

from experiments.studies.frame.experiment import LOSS, Baseline, Contrast, Experiment, Question
from experiments.studies.frame.lab import RATE_SEEDS, Facts, Lab
from experiments.studies.frame.store import Store
from experiments.studies.frame.text import same
from tests.fixtures import lanes

RATES = (1e-3, 3e-3, 1e-2)
UPDATES = 10
BLOCKS = 16


def contrast(name="", ours=("a",), others=("b",), changes=("model.position",), **options):
    return Contrast(same(name), ours, others, changes, **options)


def question(*contrasts, margin=0.1, **options):
    return Question(1, same("said"), same("instead"), margin, contrasts or (contrast(),), **options)


def facts(name, *, baseline=3.0, **settings):
    baselines = {LOSS: Baseline(baseline, same("chance"))}
    return Facts(f"print of {name}", {"model.position": name, **settings}, 100, baselines)


def lab(path, asked, scores, *, rates=None, known=None):
    """Make a lab whose store has these lanes: arm -> updates -> scores by seed; rates: arm -> rate -> loss."""
    arms = dict.fromkeys(scores, lambda: None)
    known = known or {arm: facts(arm) for arm in scores}
    found = Lab(Experiment(arms, (asked,), UPDATES, RATES), Store(path), facts=known)
    for arm in scores:
        losses = (rates or {}).get(arm, dict(zip(RATES, (2.0, 1.0, 1.5), strict=True)))
        for rate, loss in losses.items():
            for seed in RATE_SEEDS:
                add(found, arm, UPDATES, rate, seed, loss, final=False)
        best = min(losses, key=losses.get)
        for updates, values in scores[arm].items():
            for seed, value in enumerate(values):
                add(found, arm, updates, best, seed, value)
    return found


def add(lab, arm, updates, rate, seed, value, *, final=True):
    """Add a lane; its items differ a little around the value."""
    items = list(value + np.linspace(-1e-4, 1e-4, BLOCKS))
    test = {LOSS: [items, [1] * BLOCKS]} if final else {}
    lanes.add(lab, arm, updates, rate, seed, final=final, choice={LOSS: value}, test=test, extra={})
