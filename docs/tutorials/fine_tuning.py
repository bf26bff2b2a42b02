# %% [markdown]
# # Fine-tuning
#
# A run can start from the parameters of another, or from a checkpoint of Hugging Face. Here a small model learns dates
# in many languages, and then in Portuguese: once from the parameters of the first run, once from scratch. A figure
# shows both.

# %%
import matplotlib.pyplot as plt

from experiments import api

COMMON = {
    "model.num_encoder_layers": 1,
    "model.num_decoder_layers": 1,
    "model.width": 32,
    "model.num_heads": 2,
    "training.batch_size": 16,
    "training.output.evaluate_every": 20,
    "training.output.best": "loss",
    "data.evaluation_examples": 64,
    "data.num_buckets": 1,
}

# %% [markdown]
# ## A model of many languages

# %%
first = api.train(
    "dates",
    {**COMMON, "training.steps": 200, "data.examples": 2000},
    workdir="runs/first",
    progress=False,
)

# %% [markdown]
# ## One language, from its parameters and from scratch
#
# `init_from` takes parameters by their names; a part that does not fit is an error that lists it, unless `init_skip`
# names it. The tokenizer of the first run comes with it.

# %%
FEW = {**COMMON, "training.steps": 60, "data.examples": 200, "data.dates.locales": ("pt",)}
tuned, scratch = [], []
for seed in range(2):
    settings = {**FEW, "seed": seed}
    tuned.append(api.train("dates", settings, workdir=f"runs/tuned{seed}", init_from="runs/first@best", progress=False))
    scratch.append(api.train("dates", settings, workdir=f"runs/scratch{seed}", progress=False))

# %% [markdown]
# ## Compared

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for runs, name, colour in ((tuned, "from the first run", "C0"), (scratch, "from scratch", "C1")):
    for number, run in enumerate(runs):
        lines = [line for line in run.metrics if line["split"] == "validation"]
        axes.plot(
            [line["step"] for line in lines],
            [line["loss"] for line in lines],
            color=colour,
            marker="o",
            label=name if number == 0 else None,
        )
axes.set_xlabel("step")
axes.set_ylabel("validation loss (nats per token)")
axes.set_title("Dates in Portuguese, 200 examples, two seeds")
axes.legend()
figure.savefig("fine_tuning.png")

# %% [markdown]
# ## From a Hugging Face checkpoint
#
# A directory of a Hugging Face checkpoint does as well:
#
# ```
# python -m experiments.train --config=configs/trec.py --workdir=runs/bert --init_from=bert
# ```
#
# Its settings of the model and its tokenizer then take the place of the recipe's.
