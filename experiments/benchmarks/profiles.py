"""Profiles: traces of a few updates, which TensorBoard and Perfetto open."""

import glob
import os
from pathlib import Path

import jax

from experiments.benchmarks.report import Report
from experiments.benchmarks.updates import Updates

STEPS = 5
"""Number of updates in a trace."""


def write_profile(report: Report, updates: Updates, folder: Path) -> None:
    """Trace updates that are compiled already, and print what opens the trace."""
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        for number in range(STEPS):
            with jax.profiler.StepTraceAnnotation("update", step_num=number):
                updates.run(1)
    found = glob.glob(os.path.join(glob.escape(str(folder)), "plugins", "profile", "*", "perfetto_trace.json.gz"))
    report.line(f"profile of {STEPS} updates: {folder}")
    report.line(f"  TensorBoard: pip install tensorboard xprof; tensorboard --logdir={folder}")
    if found:
        report.line(f"  Perfetto: open {max(found, key=os.path.getmtime)} at https://ui.perfetto.dev")
