"""Properties of models with a row in them: tolerances are those of float32.

Each property is a function of an `Example` that returns what is wrong in words, None where it holds.
"""

from typing import Any

import jax
import numpy as np

from transformer.errors import UserError
from transformer.testing.examples import PADDING, VOCABULARY, Example, compiled, logits_of, loss_of, moved, one_by_one
from transformer.testing.inapplicable import InapplicableError

TOLERANCE = 2e-4
"""Largest difference of logits of order 1 that float32 explains."""

BFLOAT16_TOLERANCE = 0.15
"""The same for bfloat16, whose numbers have 8 bits."""


def future(example: Example) -> str | None:
    """Compute the gradient of each position's logits on the embedding of each token: none on a later one."""
    _require(example, "target")
    batch = example.padded(1)
    table = "target_embedding" if "source" in batch else "embedding"
    rows = example.batch["target"]
    positions = np.arange(rows.shape[1] + PADDING)
    for t in range(rows.shape[1]):
        _, gradient = example.slopes(example.params, batch, (positions == t).astype(np.float32))
        reads_V = (gradient[table]["table"] != 0).any(axis=-1)
        for b, tokens in enumerate(rows):
            before = {int(token) for c, row in enumerate(rows) for token in (row[: t + 1] if c == b else row)}
            for s in range(t + 1, len(tokens)):
                if int(tokens[s]) not in before and reads_V[tokens[s]]:
                    return f"{example}: the logits at {t} have a gradient on the token at {s}"
    return None


def padding(example: Example) -> str | None:
    """Compare the logits of a batch with those of the same with padding of any ids behind each row."""
    for token in (1, VOCABULARY - 1):
        logits = example.apply(example.params, example.padded(token))
        if found := _differ(logits[:, : example.logits.shape[1]], example.logits):
            return f"{example}: padding changes the logits by {found}"
    return None


def cached(example: Example) -> str | None:
    """Compare the logits of `start`, with prompts of several lengths, and `step` with those of the whole sequence."""
    _require(example, "target")
    model, params, target = example.model, example.params, example.batch["target"]
    prompt, row_B = max(target.shape[1] // 2, 1), np.arange(len(target))
    start = compiled(lambda params, batch: model.start(params, batch, steps=example.size.tokens)[:2])
    step = compiled(lambda params, token, cache: model.step(params, token, cache)[:2])
    lengths_B = prompt - row_B % prompt
    logits, cache = start(params, {**example.batch, "target": target[:, :prompt], "target_lengths": lengths_B})
    for read in range(target.shape[1] - prompt + 1):
        if found := _differ(logits, example.logits[row_B, lengths_B + read - 1]):
            return f"{example}: the cached logits {read} tokens after the prompt differ by {found}"
        if read < target.shape[1] - prompt:
            logits, cache = step(params, target[row_B, lengths_B + read], cache)
    return None


def packed(example: Example) -> str | None:
    """Compare examples in one row, in segments of their own, with each alone: the first one has 2 tokens."""
    row, lengths = {}, {}
    for side, tokens in example.batch.items():
        parts = [tokens[0, :2], tokens[-1]]
        lengths[side] = [len(part) for part in parts]
        row[side] = np.concatenate(parts)[None]
        row[f"{side}_segments"] = np.repeat([1, 2], lengths[side])[None]
    together = example.apply(example.params, row)[0]
    cut = example.apply(example.params, example.padded(1, cut=True))[0]
    first = lengths[example.sides[-1]][0]
    alone = (cut[:first], example.logits[-1])
    for number, (mine, own) in enumerate(zip((together[:first], together[first:]), alone, strict=True)):
        if found := _differ(mine, own):
            return f"{example}: example {number} of a row differs by {found} from what it is alone"
    return None


def scanned(example: Example) -> str | None:
    """Compare the compiled scan over layers with the unrolled ones, operation by operation."""
    unrolled = one_by_one(_with(example, unroll=True), example.params, example.batch)
    if found := _differ(example.logits, unrolled):
        return f"{example}: unrolled layers change the logits by {found}"
    return None


def jitted(example: Example) -> str | None:
    """Compare the compiled program with operations one by one."""
    if found := _differ(example.logits, example.eager):
        return f"{example}: the compiled program differs by {found}"
    return None


def lanes(example: Example) -> str | None:
    """Compare two models side by side with each alone."""
    other = moved(example.params, seed=2)
    both = jax.tree.map(lambda *x: np.stack(x), example.params, other)
    side_by_side = compiled(jax.vmap(lambda params: logits_of(example.model, params, example.batch)))(both)
    for lane, alone in enumerate((example.logits, example.apply(other, example.batch))):
        if found := _differ(side_by_side[lane], alone):
            return f"{example}: lane {lane} differs by {found}"
    return None


def bfloat16(example: Example) -> str | None:
    """Compare bfloat16 with float32."""
    other = _with(example, dtype="bfloat16")
    logits = compiled(lambda params, batch: logits_of(other, params, batch))(example.params, example.batch)
    if found := _differ(logits, example.logits, BFLOAT16_TOLERANCE):
        return f"{example}: bfloat16 changes the logits by {found}"
    return None


def gradients(example: Example) -> str | None:
    """Compare the gradient of the parameters, in a random direction, with finite differences.

    Scores, softmax, norms and logits are float32 whatever their inputs, by explicit casts, so the model computes in
    float32; the loss of its logits and the differences are float64, which leaves errors of 0.4 % at most (of ReLU).
    Of three steps the best one counts, and 1 % is allowed.
    """
    batch, weights = example.padded(1), example.weights

    def value(step: float) -> float:
        params = jax.tree.map(lambda p, d: p + np.float32(step) * d, example.params, direction)
        return loss_of(example.slopes(params, batch, weights)[0][1])

    direction = moved(jax.tree.map(np.zeros_like, example.params), seed=3)
    _, gradient = example.slopes(example.params, batch, weights)
    exact = float(
        sum(np.vdot(g, np.float64(d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    )
    if not np.isfinite(exact):
        return f"{example}: the gradient is {exact}"
    slopes = [(value(step) - value(-step)) / (2 * step) for step in (0.01, 0.003, 0.001)]
    best = min(slopes, key=lambda slope: abs(slope - exact))
    if abs(best - exact) > 0.01 * max(abs(exact), 0.001):
        return f"{example}: the slope is {best:.4g}, the gradient gives {exact:.4g}"
    return None


def nothing(example: Example) -> str | None:
    """Compute the logits and gradients of an example whose source has no token."""
    _require(example, "source")
    batch = example.padded(1)
    batch["source_lengths"] = np.zeros_like(batch["source_lengths"])
    (_, logits), gradient = example.slopes(example.params, batch, example.weights)
    for what, values in {"logits": [logits], "gradients": jax.tree.leaves(gradient)}.items():
        if not all(np.isfinite(x).all() for x in values):
            return f"{example}: {what} of a source without tokens are not finite"
    return None


def _require(example: Example, side: str) -> None:
    """Raise InapplicableError where the model reads no such sequence."""
    if side not in example.sides:
        raise InapplicableError(f"the model reads no {side}")


def _with(example: Example, **settings: Any) -> Any:
    """Build the example's model with other settings. Raises InapplicableError where they are not read."""
    try:
        other = example.build(**settings)
    except UserError as error:
        raise InapplicableError(f"the architecture does not read {', '.join(settings)}") from error
    if other.config == example.model.config:
        raise InapplicableError(f"the architecture does not read {', '.join(settings)}")
    return other


def _differ(one: np.ndarray, other: np.ndarray, tolerance: float = TOLERANCE) -> str | None:
    """Return the largest difference in words where it is beyond the tolerance, relative to the size of the numbers."""
    if one.shape != other.shape:
        return f"another shape, {one.shape} and {other.shape}"
    largest = float(np.abs(one - other).max())
    scale = max(float(other.std()), 0.1)
    return None if largest <= tolerance * scale else f"{largest:.3g}"
