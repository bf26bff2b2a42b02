"""Proofs for rows of one's own on every axis: those of the experiments, beside those of a model's parts."""

from experiments.testing.axes import AXES
from experiments.testing.check import check

__all__ = ["AXES", "check"]
