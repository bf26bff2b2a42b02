"""Attention and Transformers in JAX: pure functions in `ops`, modules of parameters in `nn`, models behind `build`.

Names to start from:

| name                                      | use                                                              |
|-------------------------------------------|------------------------------------------------------------------|
| `build(config)`                           | a model from a `ModelConfig`, a dict of its settings or keywords |
| `Model.init`, `.apply`, `.start`, `.step` | parameters; logits and activations of a batch; decoding          |
| `ModelConfig`                             | all settings of a model, each with its meaning                   |
| `UserError`                               | the error of every mistake in a caller's input                   |
| `Model.sites`, `.embed`, `.unembed`       | a model's activations; its first and last maps                   |
| `attend`, `ops.attend.attention_weights`  | attention on arrays                                              |
| `masks`, `ops.scores.SCORES`              | masks, joined by `&`, `|` and `~`; score functions               |
| `generate`, `Greedy`, `Sampling`, `Beam`  | generation by one engine for all models                          |
| `matching`, `any_of`                      | constraints on what is generated                                 |
| `register`, `testing.check`               | a name for a row of your own in any table; proofs for it         |
| `inspection.plots`                        | figures of attention weights, curves and confusions (matplotlib) |

>>> import jax
>>> model = build(dict(architecture="decoder_only", vocab_size=11, width=8, num_heads=2, num_layers=1))
>>> params = model.init(jax.random.key(0))
>>> model.apply(params, {"target": jax.numpy.ones((2, 5), int)})["logits"].shape
(2, 5, 11)
"""

from importlib import metadata

from transformer.decoding.constraint import any_of, matching
from transformer.decoding.generate import generate
from transformer.decoding.strategies import Beam, Greedy, Sampling
from transformer.errors import UserError
from transformer.models.build import Model, build
from transformer.models.config import ModelConfig
from transformer.ops import masks
from transformer.ops.attend import attend
from transformer.tables import register

__all__ = [
    "Beam",
    "Greedy",
    "Model",
    "ModelConfig",
    "Sampling",
    "UserError",
    "any_of",
    "attend",
    "build",
    "generate",
    "masks",
    "matching",
    "register",
]

try:
    __version__ = metadata.version("transformer")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
