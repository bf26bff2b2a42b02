"""Units of the scores of a run whose task has scores from outside, so that they can be compared without its code.

WORKDIR/units.json    name of the score -> "mode" (the better way, "max" or "min"), "unit", and the least and the
                      greatest value, "low" and "high" (null: unbounded)
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.data.stored_json import Checked, Fields, read_json
from experiments.storage.workdir import write_text_atomically
from experiments.tasks.config import TaskConfig
from experiments.tasks.task import Metric
from transformer.named_code import code_from_outside
from transformer.schema import Check

NAME = "units.json"

MODE = Checked(str, Check(lambda mode: mode in ("max", "min"), '"max" or "min"'))

SHAPE = Fields({}, others=Fields({"mode": MODE, "unit": str, "low": (float, None), "high": (float, None)}))
"""Shape of units.json."""


def write_units(workdir: Path, config: TaskConfig, metrics: Mapping[str, Metric]) -> None:
    """Write units.json where a task, an objective or a metric is from outside.

    Args:
        metrics: those of the task.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    if code_from_outside(config, "task"):
        found = {name: _written(metric) for name, metric in metrics.items()}
        write_text_atomically(workdir / NAME, json.dumps(found, ensure_ascii=False) + "\n")


def read_units(workdir: Path) -> dict[str, Metric]:
    """Read units.json; empty where it is absent.

    Raises:
        UserError: it is damaged.
    """
    if not (workdir / NAME).exists():
        return {}
    do = "Delete it: scores from outside are then shown without their units."
    found: Mapping[str, Mapping[str, Any]] = read_json(workdir / NAME, SHAPE, do=do)
    return {name: _read(row) for name, row in found.items()}


def _written(metric: Metric) -> dict[str, Any]:
    low, high = (bound if math.isfinite(bound) else None for bound in metric.bounds)
    return {"mode": metric.mode, "unit": metric.unit, "low": low, "high": high}


def _read(row: Mapping[str, Any]) -> Metric:
    low, high = row["low"], row["high"]
    bounds = -math.inf if low is None else low, math.inf if high is None else high
    return Metric(row["mode"], row["unit"], bounds)
