"""A metric of one's own: the share of answers that have the length of their reference."""

from experiments import api
from experiments.tasks.metrics import TextMetric


def length_match(answers, references):
    return sum(len(a) == len(r) for a, r in zip(answers, references, strict=True)) / max(len(references), 1)


api.register("metric", "length_match", TextMetric(length_match, mode="max", unit="of answers", bounds=(0.0, 1.0)))
