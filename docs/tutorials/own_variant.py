# %% [markdown]
# # Your own attention variant: checked, swept, compared
#
# A variant is a function and a line that registers it. Here it is a score: the negative squared distance of query and
# key, with a factor as a setting of its own. We check it against the properties that every score must have, sweep its
# factor, and decide whether it is better than the scaled dot product.

# %%
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")  # see Limits: a fault of jaxlib 0.10.2
import dataclasses

import jax.numpy as jnp
import matplotlib.pyplot as plt

from experiments import api
from transformer import build, testing
from transformer.ops.scores import Score, dot

# %% [markdown]
# ## The variant
#
# |q - k|² = |q|² - 2 q·k + |k|². The part of the query is the same for all keys, so the softmax does not depend on it.


# %%
@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the score; a recipe names them `model.score_settings.*`."""

    factor: float = 0.5


def distance(query_BTNH, key_BSNH, *, settings):
    """Compute the scores, B N T S."""
    squares_BNS = (key_BSNH**2).sum(-1).swapaxes(1, 2)
    return settings.factor * (2 * dot(query_BTNH, key_BSNH) - squares_BNS[:, :, None])


api.register("score", "distance", Score(distance, settings=Settings))
model = build(architecture="decoder_only", vocab_size=11, width=8, num_heads=2, num_layers=1, score="distance")

# %% [markdown]
# ## Checked
#
# `testing.check` proves on small examples what every score has to do: no weight on what is masked, nothing of the
# future, a cached pass equal to a full one, packed examples equal to separate ones, and so on. A property that fails is
# an error that prints the smallest example.

# %%
print(testing.check("score", "distance"))

# %% [markdown]
# ## Swept
#
# All trials of one program train side by side. The space is a dict; `seed` trains every setting with each seed.

# %%
SMALL = {
    "model.num_encoder_layers": 1,
    "model.num_decoder_layers": 1,
    "model.width": 32,
    "model.num_heads": 2,
    "model.dropout": None,
    "training.steps": 60,
    "training.batch_size": 16,
    "training.output.evaluate_every": 20,
    "data.examples": 400,
    "data.evaluation_examples": 64,
    "data.num_buckets": 1,
    "decoding.max_new_tokens": None,
}
sweep = api.sweep(
    "dates",
    {"model.score_settings.factor": [0.1, 0.5], "seed": range(2)},
    {**SMALL, "model.score": "distance", "training.output.best": "loss"},
    workdir="runs/distance",
    progress=False,
)
print(sweep.table())

# %% [markdown]
# ## Compared
#
# The margin is the least difference that matters, chosen before the runs. With `decide=True` seeds are added at 4, 8
# and 16 until the word is decided; here there are 4 seeds of a small model, so the answer is one for that model alone.

# %%
both = api.sweep(
    "dates",
    {"model.score": ["scaled_dot", "distance"], "seed": range(4)},
    {**SMALL, "training.output.best": "loss"},
    workdir="runs/scores",
    margin=0.02,
    progress=False,
)
decisions = both.decisions()
print(decisions)

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for result in both.results:
    values = result.estimate.values
    axes.plot(values, [result.values["model.score"]] * len(values), "o", alpha=0.7)
axes.set_xlabel("validation loss (nats per token), a point for each seed")
axes.set_title("Two scores on dates, 60 steps")
figure.savefig("own_variant.png")
assert jnp.isfinite(jnp.array([value for result in both.results for value in result.estimate.values])).all()
