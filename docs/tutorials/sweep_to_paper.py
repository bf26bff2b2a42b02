# %% [markdown]
# # From a sweep to a table in a paper
#
# Two variants, four seeds each, one command; the word of the decision rule, and a table in LaTeX with all numbers.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt

from experiments import api, sweep

# %% [markdown]
# ## Plan
#
# Before the runs: which difference matters (the margin), and which can be shown with so many seeds? With a deviation of
# 0.03 between two runs of one seed:
#
# ```
# python -m experiments.plan --config=configs/dates.py --power --deviation=0.03 --margin=0.02
# ```
#
# ## Sweep
#
# In a shell this is `python -m experiments.sweep --config=dates --workdir=runs/norms --sweep.model.norm=layer,rms ...`.

# %%
flags = [
    "--config=dates",
    "--workdir=runs/norms",
    "--sweep.model.norm=layer,rms",
    "--sweep.seed=0:4",
    "--margin=0.02",
    "--output=trials.tex",
    "--config.training.output.best=loss",
    "--config.model.num_encoder_layers=1",
    "--config.model.num_decoder_layers=1",
    "--config.model.width=32",
    "--config.model.num_heads=2",
    "--config.training.steps=60",
    "--config.training.batch_size=16",
    "--config.training.output.evaluate_every=20",
    "--config.data.examples=400",
    "--config.data.evaluation_examples=64",
    "--config.data.num_buckets=1",
]
code = sweep.main(flags)
assert code == 0

# %% [markdown]
# ## The table
#
# LaTeX with booktabs; siunitx can round where it is typeset, so the file keeps every digit. The same with `.csv`,
# `.json` or `.md`.

# %%
print(Path("trials.tex").read_text())

# %% [markdown]
# ## The same in Python, and a figure of the curves

# %%
trials = [f"runs/norms/trials/{point:04d}-seed{seed}" for point in (0, 1) for seed in range(4)]
judgement = api.compare(trials[4:], "loss", against=trials[:4]).decide(margin=0.02)
print(judgement)


def curve(workdir):
    """Read the validation loss of a trial: its metrics are JSON, a line each."""
    lines = [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]
    return zip(*[(line["step"], line["loss"]) for line in lines if line["split"] == "validation"], strict=True)


figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for number, trial in enumerate(trials):
    norm, colour = ("layer", "C0") if number < 4 else ("rms", "C1")
    axes.plot(*curve(trial), color=colour, marker="o", label=norm if number % 4 == 0 else None)
axes.set_xlabel("step")
axes.set_ylabel("validation loss (nats per token)")
axes.set_title("Two norms, four seeds each")
axes.legend()
figure.savefig("sweep_to_paper.png")
