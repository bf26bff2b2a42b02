"""Properties of models with a row in them: small models, random tokens, tolerances of float32.

Each property is a function of an `Example` that returns what is wrong in words, None where it holds.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from transformer import schema
from transformer.errors import UserError
from transformer.models.build import Model, Params, build
from transformer.models.config import ModelConfig
from transformer.nn.module_rows import structure
from transformer.read_by import unread

VOCABULARY = 23
TOLERANCE = 2e-4
"""Largest difference of logits of order 1 that float32 explains."""

BFLOAT16_TOLERANCE = 0.15
"""The same for bfloat16, whose numbers have 8 bits."""


class Size(NamedTuple):
    """The size of an example: examples in a batch, tokens in each, layers, and width of a head."""

    examples: int
    tokens: int
    layers: int
    head_width: int

    def __str__(self) -> str:
        return f"{self.examples} x {self.tokens} tokens, {self.layers} layers, heads of width {self.head_width}"


SIZES = (Size(1, 2, 1, 2), Size(1, 3, 1, 4), Size(2, 3, 1, 4), Size(2, 5, 2, 4), Size(3, 7, 2, 8))


@dataclasses.dataclass(frozen=True)
class Example:
    """Models of several architectures with the row in them, and their batches."""

    setting: str
    row: Any
    settings: Mapping[str, Any]
    size: Size

    def model(self, architecture: str, **settings: Any) -> tuple[Model, Params]:
        """Build the row's model of an architecture, with parameters that no start at zero hides."""
        heads = {"num_heads": 2, "num_kv_heads": 1, "head_width": self.size.head_width}
        values: dict[str, Any] = {
            "architecture": architecture,
            "vocab_size": VOCABULARY,
            "max_length": 3 * self.size.tokens + 2,
            "num_layers": self.size.layers,
            "width": 2 * self.size.head_width,
            "feed_forward_width": 8,
            "activation": "gelu_tanh",
            **heads,
            **self.settings,
            **settings,
        }
        *section, name = self.setting.split(".")
        if section:
            values[section[0]] = {**values.get(section[0], {}), name: self.row}
        else:
            values[name] = self.row
        not_read = unread(schema.from_dict(ModelConfig, values), "model")
        model = build({name: value for name, value in values.items() if f"model.{name}" not in not_read})
        return model, _moved(model.init(0), seed=1)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The architectures that the example's models have: one with both stacks, where the row can stand in both."""
        if self.setting == "architecture":
            return (self.row,)
        if self.setting == "mixer" and len(self.row.stacks) == 1:
            return (f"{self.row.stacks[0]}_only",)
        return ("seq2seq",)

    def sides(self, architecture: Any) -> tuple[str, ...]:
        """List the sequences that an architecture reads."""
        return structure(architecture).sides

    def decoders(self) -> Iterator[Any]:
        """Yield the architectures with a decoder."""
        return (name for name in self.architectures if "target" in self.sides(name))

    def batch(self, architecture: Any) -> dict[str, Array]:
        """Draw a batch: in a row every token comes once, as far as there are as many."""
        B, T = self.size.examples, self.size.tokens
        draw = np.random.default_rng(0)
        rows = {"source": T + 1, "target": T}
        return {
            side: jnp.asarray(np.stack([draw.permutation(np.arange(2, VOCABULARY))[: rows[side]] for _ in range(B)]))
            for side in self.sides(architecture)
        }


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one axis; `setting` is the model's setting that names its row."""

    setting: str
    sizes: tuple[Size, ...] = SIZES

    def make(self, row: Any, settings: Mapping[str, Any], size: Size) -> Example:
        """Make the example of a size. Raises UserError where the row and the settings contradict each other."""
        return Example(self.setting, row, settings, size)


def future(example: Example) -> str | None:
    """Compute the gradient of each position's logits on the embedding of each token: none on a later one."""
    for architecture in example.decoders():
        model, params = example.model(architecture, tie_embeddings=False)
        batch = example.batch(architecture)
        table = "target_embedding" if "source" in batch else "embedding"

        def sums(
            table_VD: Array, model: Any = model, params: Any = params, batch: Any = batch, t: Any = table
        ) -> Array:
            logits_BTV = model.apply({**params, t: {"table": table_VD}}, batch)["logits"]
            return jnp.sum(logits_BTV * jnp.arange(1.0, VOCABULARY + 1), axis=(0, 2))

        slopes_TVD = jax.jit(jax.jacrev(sums))(params[table]["table"])
        reads_TV = np.asarray(jnp.any(slopes_TVD != 0, axis=-1))
        for b, tokens in enumerate(np.asarray(batch["target"])):
            others = {int(token) for row in np.delete(np.asarray(batch["target"]), b, axis=0) for token in row}
            for t in range(len(tokens)):
                for s in range(t + 1, len(tokens)):
                    if int(tokens[s]) not in others and reads_TV[t, tokens[s]]:
                        return f"{_name(architecture)}: the logits at {t} have a gradient on the token at {s}"
    return None


def padding(example: Example) -> str | None:
    """Compare the logits of a batch with those of the same with padding of any ids behind each row."""
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch, padded = example.batch(architecture), {}
        for side, tokens in batch.items():
            B, T = tokens.shape
            padded[side] = jnp.concatenate([tokens, jnp.full((B, 2), 1, tokens.dtype)], axis=1)
            padded[f"{side}_lengths"] = jnp.full(B, T)
        others = {name: x.at[:, -2:].set(VOCABULARY - 1) if x.ndim == 2 else x for name, x in padded.items()}
        apply = jax.jit(model.apply)
        plain, *with_padding = (apply(params, one)["logits"] for one in (batch, padded, others))
        for logits in with_padding:
            if found := _differ(logits[:, : plain.shape[1]], plain):
                return f"{_name(architecture)}: padding changes the logits by {found}"
    return None


def cached(example: Example) -> str | None:
    """Compare the logits of `start`, with prompts of several lengths, and `step` with those of the whole sequence."""
    for architecture in example.decoders():
        model, params = example.model(architecture)
        batch = example.batch(architecture)
        target = batch["target"]
        whole = jax.jit(model.apply)(params, batch)["logits"]
        prompt = max(target.shape[1] // 2, 1)
        start = jax.jit(lambda p, b, m=model: m.start(p, b, steps=example.size.tokens))
        rows_B = jnp.arange(len(target))
        lengths_B = prompt - rows_B % prompt
        logits, cache, _ = start(params, {**batch, "target": target[:, :prompt], "target_lengths": lengths_B})
        step = jax.jit(model.step)
        for read in range(target.shape[1] - prompt + 1):
            if found := _differ(logits, whole[rows_B, lengths_B + read - 1]):
                return f"{_name(architecture)}: the cached logits {read} tokens after the prompt differ by {found}"
            if read < target.shape[1] - prompt:
                logits, cache, _ = step(params, target[rows_B, lengths_B + read], cache)
    return None


def packed(example: Example) -> str | None:
    """Compare examples in one row, in segments of their own, with each alone."""
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch, row = example.batch(architecture), {}
        parts = [{name: x[0, :2] for name, x in batch.items()}, {name: x[-1] for name, x in batch.items()}]
        for side in batch:
            row[side] = jnp.concatenate([part[side] for part in parts])[None]
            numbers = [np.full(len(part[side]), i + 1) for i, part in enumerate(parts)]
            row[f"{side}_segments"] = jnp.asarray(np.concatenate(numbers))[None]
        apply = jax.jit(model.apply)
        together = apply(params, row)["logits"][0]
        for number, part in enumerate(parts):
            alone = apply(params, {name: x[None] for name, x in part.items()})["logits"][0]
            if found := _differ(together[: len(alone)], alone):
                return f"{_name(architecture)}: example {number} of a row differs by {found} from what it is alone"
            together = together[len(alone) :]
    return None


def scanned(example: Example) -> str | None:
    """Compare a scan over layers with the unrolled one."""
    return _settings_agree(example, "unrolled layers", unroll=True)


def jitted(example: Example) -> str | None:
    """Compare the compiled program with operations one by one."""
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch = example.batch(architecture)
        compiled = jax.jit(model.apply)(params, batch)["logits"]
        with jax.disable_jit():
            plain = model.apply(params, batch)["logits"]
        if found := _differ(compiled, plain):
            return f"{_name(architecture)}: the compiled program differs by {found}"
    return None


def lanes(example: Example) -> str | None:
    """Compare two models side by side with each alone."""
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch, other = example.batch(architecture), _moved(params, seed=2)
        both = jax.tree.map(lambda *x: jnp.stack(x), params, other)

        def logits(params: Any, model: Any = model, batch: Any = batch) -> Array:
            return model.apply(params, batch)["logits"]

        side_by_side = jax.jit(jax.vmap(logits))(both)
        for lane, alone in enumerate((params, other)):
            if found := _differ(side_by_side[lane], jax.jit(logits)(alone)):
                return f"{_name(architecture)}: lane {lane} differs by {found}"
    return None


def bfloat16(example: Example) -> str | None:
    """Compare bfloat16 with float32."""
    return _settings_agree(example, "bfloat16", BFLOAT16_TOLERANCE, dtype="bfloat16")


def gradients(example: Example) -> str | None:
    """Compare the gradient of the parameters, in a random direction, with finite differences.

    Scores, softmax and norms are float32 whatever their inputs, so the differences are those of float32: of four steps
    the best one counts, and 3 % are allowed.
    """
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch = example.batch(architecture)

        def loss(params: Any, model: Any = model, batch: Any = batch) -> Array:
            logits = model.apply(params, batch)["logits"]
            return jnp.sum(jnp.sin(logits * jnp.arange(1.0, VOCABULARY + 1))) / logits.size

        value = jax.jit(loss)
        gradient = jax.jit(jax.grad(loss))(params)
        direction = _moved(jax.tree.map(jnp.zeros_like, params), seed=3)
        exact = float(sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)))
        if not np.isfinite(exact):
            return f"{_name(architecture)}: the gradient is {exact}"

        slopes = [
            float(value(_along(params, direction, step)) - value(_along(params, direction, -step))) / (2 * step)
            for step in (0.3, 0.1, 0.03, 0.01)
        ]
        best = min(slopes, key=lambda slope: abs(slope - exact))
        if abs(best - exact) > 0.03 * max(abs(exact), 0.01):
            return f"{_name(architecture)}: the slope is {best:.4g}, the gradient gives {exact:.4g}"
    return None


def nothing(example: Example) -> str | None:
    """Compute the logits and gradients of an example whose source has no token."""
    for architecture in example.architectures:
        sides = example.sides(architecture)
        if "source" not in sides:
            continue
        model, params = example.model(architecture)
        batch = example.batch(architecture)
        batch["source_lengths"] = jnp.zeros(len(batch["source"]), jnp.int32)

        def loss(params: Any, model: Any = model, batch: Any = batch) -> tuple[Array, Array]:
            logits = model.apply(params, batch)["logits"]
            return jnp.sum(jnp.sin(logits)), logits

        gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
        for what, values in {"logits": [logits], "gradients": jax.tree.leaves(gradient)}.items():
            if not all(bool(jnp.all(jnp.isfinite(x))) for x in values):
                return f"{_name(architecture)}: {what} of a source without tokens are not finite"
    return None


def _settings_agree(example: Example, words: str, tolerance: float = TOLERANCE, **settings: Any) -> str | None:
    """Compare the logits of a model with those of the same with other settings."""
    for architecture in example.architectures:
        model, params = example.model(architecture)
        batch = example.batch(architecture)
        try:
            other, _ = example.model(architecture, **settings)
        except UserError:  # the architecture does not read them
            continue
        one, two = (jax.jit(m.apply)(params, batch)["logits"] for m in (model, other))
        if found := _differ(one, two, tolerance):
            return f"{_name(architecture)}: {words} change the logits by {found}"
    return None


def _differ(one: Array, other: Array, tolerance: float = TOLERANCE) -> str | None:
    """Return the largest difference in words where it is beyond the tolerance, relative to the size of the numbers."""
    if one.shape != other.shape:
        return f"another shape, {one.shape} and {other.shape}"
    largest = float(jnp.max(jnp.abs(one - other)))
    scale = max(float(jnp.std(other)), 0.1)
    return None if largest <= tolerance * scale else f"{largest:.3g}"


def _along(params: Any, direction: Any, step: float) -> Any:
    return jax.tree.map(lambda p, d: p + step * d, params, direction)


def _moved(params: Any, seed: int) -> Any:
    """Add small noise to every parameter, so that none is at a start that hides a mistake."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [0.1 * jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [x + own for x, own in zip(leaves, noise, strict=True)])


def _name(architecture: Any) -> str:
    return str(architecture)
