# %% [markdown]
# # From the equation to a trained model
#
# Attention is one equation (Vaswani et al. 2017, equation 1):
#
#     Attn(Q, K, V) = softmax(Q Kᵀ / √H) V
#
# We write it with NumPy, find it in this library, give it a mask, put it in a model, train the model for a minute, and
# look at what it attends to.

# %%
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")  # see Limits: a fault of jaxlib 0.10.2
import jax
import jax.numpy as jnp
import numpy as np

import transformer
from experiments import api
from transformer import attend, masks
from transformer.inspection.plots import attention_maps

# %% [markdown]
# ## The equation
#
# T queries and S keys of H entries each. A row of the softmax is a distribution over the keys: the weights with which
# the values are averaged.

# %%
T, S, H = 4, 6, 8
generator = np.random.default_rng(0)
query_TH, key_SH, value_SH = (generator.standard_normal((n, H)) for n in (T, S, S))

scores_TS = query_TH @ key_SH.T / np.sqrt(H)
weights_TS = np.exp(scores_TS) / np.exp(scores_TS).sum(axis=-1, keepdims=True)
context_TH = weights_TS @ value_SH

# %% [markdown]
# `attend` is the same with a batch B and N heads: its arrays are B T N H and B S N H. In names of arrays, here and in
# the library, each letter behind the underscore is an axis.

# %%
own_BTNH = attend(*(jnp.asarray(x)[None, :, None] for x in (query_TH, key_SH, value_SH)))
print("largest difference:", float(np.abs(own_BTNH[0, :, 0] - context_TH).max()))
assert np.allclose(own_BTNH[0, :, 0], context_TH, atol=1e-5)

# %% [markdown]
# ## Masks
#
# A mask is a description of which keys a query may attend to. Masks are joined by `&`, `|` and `~`; a function of two
# indices is a mask as well. What is masked has a weight of exactly zero, and its gradient is exactly zero.

# %%
mask = masks.causal() & masks.padding(jnp.array([5]))
banded = mask & masks.where(lambda query, key: query - key < 3)
print(banded.allowed(jnp.arange(6), 6)[0, 0].astype(int))  # queries are rows, keys are columns

# %% [markdown]
# ## A model
#
# The task: copy a sequence in reverse order. The encoder reads it, the decoder writes it, and cross-attention has to
# find, for each output, the right place of the input.

# %%
LENGTH, DIGITS, START = 8, 10, 10
model = transformer.build(
    architecture="seq2seq", vocab_size=DIGITS + 1, num_layers=1, width=32, num_heads=2, feed_forward_width=64
)


def examples(key, count):
    """Draw sequences; the decoder reads the answer so far, and its labels are the next tokens."""
    source = jax.random.randint(key, (count, LENGTH), 0, DIGITS)
    labels = source[:, ::-1]
    target = jnp.concatenate([jnp.full((count, 1), START), labels[:, :-1]], axis=1)
    return {"source": source, "target": target, "labels": labels}


train, held_out = examples(jax.random.key(0), 4096), examples(jax.random.key(1), 256)

# %% [markdown]
# `api.fit` trains any model on arrays. It uses the update and the loop of all trainings.

# %%
STEPS = 600
fit = api.fit(
    model,
    train,
    steps=STEPS,
    optimizer={"name": "adamw", "learning_rate": 3e-3},
    validation=held_out,
    progress=False,
)
right = model.apply(fit.params, held_out)["logits"].argmax(-1) == held_out["labels"]
print(f"right tokens on held-out sequences: {right.mean():.1%}")

# %% [markdown]
# ## What it attends to
#
# Any activation is captured by its name; `model.sites(held_out)` lists them all. Reversal must show as a diagonal that
# falls from right to left in the cross-attention.

# %%
name = "decoder.*.cross.weights"
weights_LBNTS = model.apply(fit.params, held_out, capture=(name,))["captured"][name]
tokens = [str(token) for token in held_out["source"][0].tolist()]
answer = [str(token) for token in held_out["labels"][0].tolist()]
figure = attention_maps(np.asarray(weights_LBNTS[0, 0]), answer, tokens, "Cross-attention of a model that reverses")
figure.savefig("attention.png", bbox_inches="tight")
