"""Examples of models: a small model with the row in it, random tokens, and the programs that properties share.

A row's properties read the same few results, so each is computed once: the logits of a batch by a compiled program and
operation by operation, those of the same batch with padding, and one program of gradients. Programs are compiled
without XLA's optimisations, which take longer than these models run.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from transformer import schema
from transformer.models.build import Model, Params, build
from transformer.models.config import ModelConfig
from transformer.nn.module_rows import ARCHITECTURES, structure
from transformer.read_by import unread

Batch = dict[str, np.ndarray]

VOCABULARY = 23
PADDING = 2
"""Number of tokens of padding behind each row."""

PHASES = np.arange(VOCABULARY, dtype=np.float32)
"""Number added to each logit before its sine, so that no slope is as another."""

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options of XLA for programs that run a few times."""


class Size(NamedTuple):
    """The size of an example: examples in a batch, tokens in each, layers, and width of a head."""

    examples: int
    tokens: int
    layers: int
    head_width: int

    def __str__(self) -> str:
        return f"{self.examples} x {self.tokens} tokens, {self.layers} layers, heads of width {self.head_width}"


SIZES = (Size(1, 2, 1, 2), Size(1, 3, 1, 4), Size(2, 3, 1, 4), Size(2, 5, 2, 4), Size(3, 7, 2, 8))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called, in little time; it returns arrays of NumPy.

    So no operation on what it returns is compiled.
    """
    run = jax.jit(function, compiler_options=QUICK)
    return lambda *arguments: jax.tree.map(np.asarray, run(*arguments))


@dataclasses.dataclass(frozen=True)
class Example:
    """A model with the row in it, and its batches."""

    setting: str
    row: Any
    settings: Mapping[str, Any]
    size: Size

    @property
    def architecture(self) -> Any:
        """The architecture of the model: one with both stacks, where the row can stand in both."""
        if self.setting == "architecture":
            return self.row
        if self.setting == "mixer" and len(self.row.stacks) == 1:
            return f"{self.row.stacks[0]}_only"
        return "seq2seq"

    @property
    def sides(self) -> tuple[str, ...]:
        """The sequences that the model reads."""
        return structure(self.architecture).sides

    def build(self, **settings: Any) -> Model:
        """Build the row's model with further settings; those that it does not read are left out."""
        values: dict[str, Any] = {
            "architecture": self.architecture,
            "vocab_size": VOCABULARY,
            "max_length": 3 * self.size.tokens + 2,
            "num_layers": self.size.layers,
            "num_heads": 2,
            "num_kv_heads": 1,
            "head_width": self.size.head_width,
            "width": 2 * self.size.head_width,
            "feed_forward_width": 8,
            "activation": "gelu_tanh",
            "tie_embeddings": False,
            **self.settings,
            **settings,
        }
        *section, name = self.setting.split(".")
        if section:
            values[section[0]] = {**values.get(section[0], {}), name: self.row}
        else:
            values[name] = self.row
        not_read = unread(schema.from_dict(ModelConfig, values), "model")
        return build({name: value for name, value in values.items() if f"model.{name}" not in not_read})

    @functools.cached_property
    def model(self) -> Model:
        """The model of the example's settings."""
        return self.build()

    @functools.cached_property
    def params(self) -> Params:
        """Parameters none of which is at a start, such as 0, that hides a mistake."""
        return moved(jax.tree.map(np.asarray, self.model.init(0)), seed=1)

    @functools.cached_property
    def batch(self) -> Batch:
        """A batch without padding: in a row every token comes once, as far as there are as many."""
        B, T = self.size.examples, self.size.tokens
        draw = np.random.default_rng(0)
        rows = {"source": T + 1, "target": T}
        return {
            side: np.stack([draw.permutation(np.arange(2, VOCABULARY, dtype=np.int32))[: rows[side]] for _ in range(B)])
            for side in self.sides
        }

    def padded(self, token: int, cut: bool = False) -> Batch:
        """Return the batch with padding of this token behind each row.

        Args:
            cut: True: of the first example 2 tokens are left, and the others are padding.
        """
        batch: Batch = {}
        for side, tokens in self.batch.items():
            B, T = tokens.shape
            lengths = np.full(B, T, np.int32)
            lengths[0] = 2 if cut else T
            wide = np.pad(tokens, ((0, 0), (0, PADDING)))
            batch[side] = np.where(np.arange(T + PADDING) < lengths[:, None], wide, np.int32(token))
            batch[f"{side}_lengths"] = lengths
        return batch

    @functools.cached_property
    def apply(self) -> Callable[..., np.ndarray]:
        """The compiled program (params, batch) -> logits."""
        return compiled(functools.partial(logits_of, self.model))

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """The logits of the batch by the compiled program."""
        return self.apply(self.params, self.batch)

    @functools.cached_property
    def eager(self) -> np.ndarray:
        """The logits of the batch, operation by operation."""
        return one_by_one(self.model, self.params, self.batch)

    @functools.cached_property
    def slopes(self) -> Callable[..., tuple[tuple[np.ndarray, np.ndarray], Params]]:
        """The compiled program (params, padded batch, weights of positions) -> ((loss, logits), gradient of the loss).

        The loss is the weighted mean of a sine of each logit, as `loss_of` computes it in float64.
        """

        def loss(params: Params, batch: Mapping[str, Array], weights_T: Array) -> tuple[Array, Array]:
            logits = logits_of(self.model, params, batch)
            return jnp.mean(jnp.sin(logits + PHASES) * weights_T[:, None]), logits

        return compiled(jax.value_and_grad(loss, has_aux=True))

    @property
    def weights(self) -> np.ndarray:
        """Weights of 1 for each position that has logits, of a padded batch."""
        return np.ones(self.batch[self.sides[-1]].shape[1] + PADDING, np.float32)

    def __str__(self) -> str:
        names = (name for name, row in ARCHITECTURES.items() if row == self.architecture)
        return next(names, str(self.architecture))


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one axis; `setting` is the model's setting that names its row."""

    setting: str
    sizes: tuple[Size, ...] = SIZES

    def make(self, row: Any, settings: Mapping[str, Any], size: Size) -> Example:
        """Make the example of a size. Raises UserError where the row and the settings contradict each other."""
        example = Example(self.setting, row, settings, size)
        example.build()
        return example


def logits_of(model: Model, params: Params, batch: Mapping[str, ArrayLike]) -> Array:
    """Apply a model to a batch, and return the logits alone."""
    return cast(Array, model.apply(params, batch)["logits"])


def one_by_one(model: Model, params: Params, batch: Mapping[str, ArrayLike]) -> np.ndarray:
    """Apply a model to a batch operation by operation, and return the logits alone."""
    with jax.disable_jit():
        return np.asarray(logits_of(model, jax.tree.map(jnp.asarray, params), batch))


def loss_of(logits: np.ndarray) -> float:
    """Compute the loss of `Example.slopes` where all weights are 1, in float64."""
    return float(np.mean(np.sin(logits.astype(np.float64) + PHASES)))


def moved(params: Params, seed: int) -> Params:
    """Add small noise to every parameter."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + (0.1 * draw.normal(size=x.shape)).astype(x.dtype), params)
