# %% [markdown]
# # Opening a run and looking inside
#
# A run is a directory. We train a small one, open it as one would open any other, get predictions, measure it, list its
# activations, switch heads off, and draw what that costs.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from experiments import api

trained = api.train(
    "dates",
    {
        "model.num_encoder_layers": 1,
        "model.num_decoder_layers": 1,
        "model.width": 48,
        "model.num_heads": 4,
        "training.steps": 300,
        "training.batch_size": 32,
        "training.output.evaluate_every": 100,
        "data.examples": 4000,
        "data.evaluation_examples": 200,
        "data.dates.locales": ("en_US", "de", "fr"),
        "data.num_buckets": 1,
    },
    workdir="runs/inside",
    progress=False,
)

# %% [markdown]
# ## Open, get predictions, measure

# %%
run = api.open_run("runs/inside")  # the best checkpoint; checkpoint="last", or a step
print(run.predict(["20. November 2026"])[0])
for name, value in run.evaluate("validation").items():
    print(f"{name}: {value}")

# %% [markdown]
# ## Which activations are there?
#
# A batch as the task frames it; `sites` computes nothing.

# %%
batch = next(iter(run.task.evaluation_batches(run.task.splits.validation[:64], 64)))
batch = {name: jnp.asarray(x) for name, x in batch.items() if name != "example_weights"}
inputs = {name: x for name, x in batch.items() if name not in ("labels", "loss_weights")}
for name, site in run.model.sites(inputs).items():
    print(f"{name:32} {site.axes:12} {site.shape}")

# %% [markdown]
# ## Switch heads off
#
# `replace` puts another array, or a function of it, in the place of an activation. Here the output of one head of
# the decoder becomes zero, and the loss is computed again.


# %%
def loss(replace):
    """Compute the loss of the batch, nats per token, with some activations replaced."""
    logits = run.model.apply(run.params, inputs, replace=replace)["logits"]
    shifted = logits - logits.max(-1, keepdims=True)
    chosen = jnp.take_along_axis(shifted, batch["labels"][..., None], -1)[..., 0]
    nats = jnp.log(jnp.exp(shifted).sum(-1)) - chosen
    return float((nats * batch["loss_weights"]).sum() / batch["loss_weights"].sum())


whole = loss({})
heads = {
    part: [loss({f"decoder.0.{part}.head.{head}": jnp.zeros_like}) - whole for head in range(4)]
    for part in ("self", "cross")
}
print(f"loss of the whole model: {whole:.3f}")
print(heads)

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for offset, (part, added) in zip((-0.2, 0.2), heads.items(), strict=True):
    axes.bar(np.arange(4) + offset, added, width=0.4, label=f"{part}-attention")
axes.set_xticks(range(4), [f"head {head}" for head in range(4)])
axes.set_ylabel("added loss (nats per token)")
axes.set_title("What each head of the decoder contributes")
axes.legend()
figure.savefig("look_inside.png")
assert max(heads["cross"]) > 0.0
