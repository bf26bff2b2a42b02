"""Speed of the input pipeline of a recipe alone: its batches are taken as they come, and nothing is computed."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Sequence

from experiments import settings
from experiments.benchmarks.report import Report, ReportFlags, spread
from experiments.cli.flags import REQUIRED
from experiments.training.experiment import set_up
from experiments.training.loop import batch_size_of
from transformer.schema import at_least, setting

PARTS = 5
"""Number of parts in which the batches are timed."""


@dataclasses.dataclass(frozen=True)
class InputBenchFlags(ReportFlags):
    """Time the input pipeline of a recipe: python -m experiments.bench input --config=configs/dates.py"""

    config: str = setting(REQUIRED, "recipe: a Python file with get_config(), or the name of one in configs/")
    batches: int = setting(2000, "number of batches that are timed, in five parts", check=at_least(PARTS, 10**9))


def time_input(flags: InputBenchFlags, overrides: Sequence[tuple[str, str]], report: Report) -> None:
    """Time the batches of a recipe, and print the table; speeds are medians of the parts."""
    config, notes = settings.resolve(settings.load_recipe(flags.config), overrides)
    task = set_up(config).task
    report.begin(settings.to_json_dict(config), notes=notes)
    batches = task.training_batches()
    next(batches)
    tokens, made, count = [], [], flags.batches // PARTS
    for _ in range(PARTS):
        began = time.perf_counter()
        total = sum(batch_size_of(batch)["tokens"] for batch in itertools.islice(batches, count))
        seconds = time.perf_counter() - began
        tokens.append(total / seconds)
        made.append(count / seconds)
    row = {
        "part": "input pipeline alone",
        **spread("tokens/s", tokens, "tokens/s"),
        "batches/s": statistics.median(made),
        "padding": task.plan.padding,
    }
    report.table(f"{flags.config}, {PARTS * count:,} batches", [row])
