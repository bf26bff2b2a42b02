"""Sequences that are drawn at random: what is trained on them, and the score of a guess."""

import math
from collections.abc import Mapping
from typing import Any

from experiments.studies.frame.experiment import (
    ACCURACY,
    CHOICE,
    LOSS,
    TEST,
    Baseline,
    Trainee,
    held_out_batches,
)
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import Sample
from transformer import Model

BATCHES = 16
"""Held-out batches of the choice, and of the test."""


def trainee(
    model: Model, sample: Sample, data: Any = None, *, labels: int, task: Mapping[str, Any], **options: Any
) -> Trainee:
    """Make what is trained on a sampler's batches; competent is who is better than a guess.

    Args:
        data: the second argument of `sample`.
        labels: number of labels among which is guessed, all of them as likely.
        task: further settings that may change the result.
        options: further fields of a Trainee.
    """
    chance = Text("chance", "随机猜测")
    baselines = {LOSS: Baseline(math.log(labels), chance), ACCURACY: Baseline(1.0 / labels, chance)}
    return Trainee(
        model,
        sample,
        data,
        held_out_batches(sample, data, count=BATCHES, stream=CHOICE),
        held_out_batches(sample, data, count=BATCHES, stream=TEST),
        **{"settings": {"task": dict(task)}, "baselines": baselines, **options},
    )
