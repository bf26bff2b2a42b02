"""The numbers of trained lanes by arm, as figures and a study's own claims read them.

    {arm: {"rate", "inside", "rates": {rate: loss}, "parameters", "runs": {updates: Run}}}
    Run = {metric_R, ..., "curve": {"updates", metric_PR}, "extra": {name_R...}, "seconds_R"}

R are the seeds 0, 1, ..., P the points of a curve, which is of the held-out batches of the choice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.studies.frame.experiment import score_of
from experiments.studies.frame.lab import Lab
from experiments.studies.frame.store import Line
from experiments.studies.frame.verdicts import LONGER


def summary(lab: Lab) -> dict[str, Any]:
    """Summarise the lanes of all arms that are known, without training any."""
    train, lab.train = lab.train, False
    found = {arm: arm_summary(lab, arm) for arm in list(lab.facts)}
    lab.train = train
    return {arm: row for arm, row in found.items() if row}


def arm_summary(lab: Lab, arm: str) -> dict[str, Any]:
    """Summarise one arm; empty where its learning rate is not chosen yet."""
    rate = lab.rate(arm)
    if rate is None:
        return {}
    runs = {}
    for updates in (lab.experiment.updates, LONGER * lab.experiment.updates):
        count = 0
        while lab.lanes(arm, updates, [(rate.value, count)]) is not None:
            count += 1
        if count:
            runs[str(updates)] = run_summary(lab.scores(arm, updates, count) or [])
    rates = {f"{value:g}": loss for value, loss in rate.losses.items()}
    own = {"rate": rate.value, "inside": rate.inside, "rates": rates, "parameters": lab.of(arm).parameters}
    return {**own, "runs": runs}


def run_summary(lanes: Sequence[Line]) -> dict[str, Any]:
    """Summarise the lanes of an arm at one number of updates, one for each seed."""
    first = lanes[0]
    curves = {key: np.array([lane["curve"][key] for lane in lanes], float).T for key in first["choice"]}
    return {
        **{f"{metric}_R": [score_of(lane, metric) for lane in lanes] for metric in first["test"]},
        "curve": {"updates": first["curve"]["updates"], **{f"{key}_PR": x.tolist() for key, x in curves.items()}},
        "extra": {key: [lane["extra"][key] for lane in lanes] for key in first["extra"]},
        "seconds_R": [lane["seconds"] for lane in lanes],
    }
