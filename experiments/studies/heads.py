"""Heads: their number at one width and number of parameters, what they attend to, and what each contributes.

N heads of H = D / N each. Vaswani et al. 2017, table 3 (A), vary N likewise.
Switching off: Michel et al. 2019, https://arxiv.org/abs/1905.10650; the head's output becomes zero.
Overlap of two heads: sum over s of min(weight, weight'), 1 where their weights are equal. See also `parts.projections`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import (
    MOST,
    MOST_STEPS,
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    judge_cases,
    random_keys,
    spread,
)
from experiments.studies.frame.pictures import COLOURS, bars, curve, finish, panels, powers
from experiments.studies.frame.training import best_rate, held_out, number_of_parameters, train_lanes
from experiments.studies.parts import projections, text
from experiments.training.update import Batch
from transformer import Model
from transformer.ops.losses import cross_entropy
from transformer.schema import at_least, each, setting

RATES = (1e-3, 3e-3)
LAYERS, FORWARD = 2, 128
CONCATENATED = (12, 64)
"""Number and width of the heads of BERT base and GPT-2 small."""
WEIGHTS = "decoder.*.self.weights"
DIFFERENT = 0.5
"""Overlap below which two heads count as attending to different things."""
counts = each(1, MOST, "two or more numbers that rise", lambda n: len(n) > 1 and list(n) == sorted(set(n)))


@dataclasses.dataclass(frozen=True)
class HeadsSettings(StudySettings):
    """Number of heads at one width: python -m experiments.studies heads --heads=1,4,16"""

    heads: tuple[int, ...] = setting((1, 2, 4, 8, 16), "numbers of heads N, each of which divides D", check=counts)
    width: int = setting(64, "model width D", check=at_least(1, MOST))
    way_heads: int = setting(4, "heads of the models with different projections", check=at_least(1, MOST))
    steps: int = setting(300, "updates per model", check=at_least(2, MOST_STEPS))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def measure(settings: HeadsSettings) -> Numbers:
    """Train a model for each N: loss_NR (nats per byte, held out), without each head (`off`), attention (`looks`)."""
    learn, check = parts = tuple(jnp.asarray(part) for part in text.corpus(settings.text))
    (batch,) = held_out(text.windows(256, text.WINDOW), check)
    losses, off, attended = [], {}, {}
    for N in settings.heads:
        model = transformer.build(dict(architecture="decoder_only", num_heads=N, **shape_of(settings)))
        options = dict(seeds=settings.seeds, steps=settings.steps, rates=RATES, name=f"{N} heads")
        trained = train_lanes(model, text.windows(settings.batch, text.WINDOW), learn, **options)
        found = trained.each(lambda params, model=model: switched_off(model, params, batch))
        at = best_rate(found["all_on"])
        losses.append(found["all_on"][at])
        off[N] = np.moveaxis(found["off_LN"][at], 0, -1)
        statistics = trained.each(lambda params, model=model: attention_statistics(model, params, batch))
        attended[N] = {name: np.moveaxis(x[at], 0, -1) for name, x in statistics.items()}
    return {
        "heads": settings.heads,
        "width": settings.width,
        "loss_NR": np.stack(losses),
        "off": off,
        "looks": attended,
        "ways": {way: projected(way, parts, settings) for way in projections.WAYS},
        "concatenated": projections.concatenated(random_keys(settings), *CONCATENATED),
        "concatenated_heads": CONCATENATED,
    }


def shape_of(settings: HeadsSettings) -> dict[str, int]:
    """Return the settings that all models share."""
    return dict(vocab_size=text.VOCABULARY, num_layers=LAYERS, width=settings.width, feed_forward_width=FORWARD)


def projected(way: str, parts: Sequence[np.ndarray], settings: HeadsSettings) -> dict[str, object]:
    """Train a model with a way of projecting: loss_R (nats per byte, held out) and number of parameters."""
    model = projections.model_of(way, heads=settings.way_heads, **shape_of(settings))
    options = dict(batch=settings.batch, seeds=settings.seeds, steps=settings.steps, rates=RATES, name=way)
    loss_AR = text.held_out_loss(model, parts, side="source", **options)
    return {"loss_R": loss_AR[best_rate(loss_AR)], "parameters": number_of_parameters(model)}


def attention_statistics(model: Model, params: object, batch: Batch) -> dict[str, jax.Array]:
    """Compute the mean distance back of each head's weight, distance_LN (tokens), and the mean overlap, shared_L."""
    few = {name: x[:32] for name, x in batch.items()}
    weights_LBNTS = model.apply(params, few, capture=(WEIGHTS,))["captured"][WEIGHTS]
    N, T = weights_LBNTS.shape[2:4]
    back_TS = jnp.arange(T)[:, None] - jnp.arange(T)
    distance_LN = jnp.sum(weights_LBNTS * back_TS, axis=-1).mean((1, 3))

    def overlap(i: jax.Array) -> jax.Array:
        return jnp.minimum(weights_LBNTS, jnp.roll(weights_LBNTS, i, axis=2)).sum(-1).mean((1, 2, 3))

    shared_L = jax.lax.map(overlap, jnp.arange(1, N)).mean(0) if N > 1 else jnp.ones(LAYERS, jnp.float32)
    return {"distance_LN": distance_LN, "shared_L": shared_L}


def switched_off(model: Model, params: object, batch: Batch) -> dict[str, jax.Array]:
    """Compute the loss with all heads, and with each head of each layer switched off.

    The head's part of the output projection is set to zero, which is the same as a head whose output is zero.
    """
    N = model.config.num_heads
    leaves, structure = jax.tree.flatten(params)
    axes = structure.flatten_up_to(model.parameter_axes(params))
    (kernel_index,) = (i for i, a in enumerate(axes) if a.letters == ("L", "N", "H", "D"))

    def without(i: jax.Array) -> jax.Array:
        kernel = leaves[kernel_index].at[i // N, i % N].set(0.0)
        changed = structure.unflatten([*leaves[:kernel_index], kernel, *leaves[kernel_index + 1 :]])
        return loss_of(model, changed, batch)

    off = jax.lax.map(without, jnp.arange(LAYERS * N))
    return {"all_on": loss_of(model, params, batch), "off_LN": off.reshape(LAYERS, N)}


def loss_of(model: Model, params: object, batch: Batch) -> jax.Array:
    """Compute the loss in nats per byte."""
    logits = model.apply(params, batch)["logits"]
    return jnp.mean(cross_entropy(logits, batch["labels"]))


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the number of heads, on single heads and on projections."""
    loss_NR, heads = np.asarray(numbers["loss_NR"], float), numbers["heads"]
    gain = {f"{n}": above_zero(loss_NR[0] - loss_NR[i]) for i, n in enumerate(heads) if i}
    each = [f"N = {n}: {spread(loss_NR[i])}" for i, n in enumerate(heads)]
    seeds = loss_NR.shape[1]
    several = Claim(
        said=f"Several heads are better than {heads[0]} of the same width in all",
        **judge_cases(gain, word="N is "),
        criterion=f"held-out loss is below that of {heads[0]} by more than the interval, each at its better rate",
        measured="nats per byte, " + "; ".join(each),
        instead="At one width more heads are narrower heads. Whether that helps depends on width, data and updates.",
        seeds=seeds,
    )
    more = Claim(
        said="The more heads, the better",
        **judge_cases(
            {f"{n} become {heads[i + 1]}": above_zero(loss_NR[i] - loss_NR[i + 1]) for i, n in enumerate(heads[:-1])}
        ),
        criterion="each step to more heads lowers the held-out loss by more than the interval",
        measured="change of nats per byte, "
        + "; ".join(
            f"{n} to {heads[i + 1]}: {spread(loss_NR[i + 1] - loss_NR[i], signed=True)}"
            for i, n in enumerate(heads[:-1])
        ),
        instead="Each step has a result of its own.",
        seeds=seeds,
    )
    damage = added(numbers)
    needed = Claim(
        said="Every head is needed",
        **judge_cases(
            {n: above_zero(row.min(0)) for n, row in damage.items()},
            word="N is ",
        ),
        criterion="switching off the head of a model that it needs least raises the held-out loss by more than the "
        "interval",
        measured="nats per byte added without the least needed head, "
        + "; ".join(f"N = {n}: {spread(row.min(0), signed=True)}" for n, row in damage.items()),
        instead="This is measured on models that are not trained again without the head.",
        seeds=seeds,
    )
    shared = {n: np.asarray(row["shared_L"], float).mean(0) for n, row in numbers["looks"].items() if int(n) > 1}
    apart = {n: np.asarray(row["distance_LN"], float) for n, row in numbers["looks"].items() if int(n) > 1}

    def ends(distance_NR: np.ndarray) -> str:
        return f"{distance_NR.min(0).mean():.1f} to {distance_NR.max(0).mean():.1f}"

    different = Claim(
        said="Different heads attend to different things",
        **judge_cases({f"{n}": bool(np.all(x < DIFFERENT)) for n, x in shared.items()}, word="N is "),
        criterion=f"two heads of a layer share less than {DIFFERENT:g} of their weight on average (1: equal weights), "
        "for every seed",
        measured="share, and mean distance back of the nearest and the furthest head of each layer (tokens, mean over "
        "seeds): " + "; ".join(f"N = {n}: {spread(x)}, " + ", ".join(map(ends, apart[n])) for n, x in shared.items()),
        instead="The share alone decides here; what a head contributes is another question.",
        seeds=seeds,
    )
    return [several, more, needed, different, *projections.judge(numbers)]


def added(numbers: Numbers) -> dict[str, np.ndarray]:
    """Compute the loss that switching off each head adds, N -> (L N) R."""
    loss_NR = np.asarray(numbers["loss_NR"], float)
    rows = (np.asarray(off, float).reshape(-1, loss_NR.shape[1]) for off in numbers["off"].values())
    return {f"{n}": row - loss_R for n, row, loss_R in zip(numbers["off"], rows, loss_NR, strict=True)}


def draw(numbers: Numbers) -> Figure:
    """Draw the loss against N, the loss that heads add, how far back they attend, and the ways of projecting."""
    figure, grid = panels(2, 2, width=3.8)
    curve(grid[0, 0], numbers["heads"], numbers["loss_NR"], "all heads on", 0)
    powers(grid[0, 0], numbers["heads"])
    finish(grid[0, 0], f"N heads of width {numbers['width']} / N", "heads N", "held-out loss (nats per byte)")
    names, rows = [], []
    for n, damage in added(numbers).items():
        names += [f"N = {n}, least", f"N = {n}, most"]
        rows += [damage.min(0), damage.max(0)]
    bars(grid[0, 1], names, np.array(rows))
    finish(grid[0, 1], "switching one head off", "added loss (nats per byte)", "")
    for n, row in numbers["looks"].items():
        for layer, distance_N in enumerate(np.asarray(row["distance_LN"], float)[..., 0]):
            label = f"layer {layer}" if int(n) == numbers["heads"][0] else None
            x = [int(n) * (0.94, 1.06)[layer]] * len(distance_N)
            grid[1, 0].plot(x, distance_N, "os"[layer], color=COLOURS[layer], markersize=4.5, alpha=0.7, label=label)
    powers(grid[1, 0], numbers["heads"])
    finish(grid[1, 0], "what each head attends to (first seed)", "heads N", "mean distance back (tokens)", legend=True)
    names = list(numbers["ways"])
    losses = np.array([numbers["ways"][name]["loss_R"] for name in names], float)
    bars(grid[1, 1], names, losses)
    grid[1, 1].set_xlim(left=0.95 * np.nanmin(losses))
    finish(grid[1, 1], "projections, at equal parameters", "held-out loss (nats per byte)", "")
    return figure


HEADS = Study(
    title="Number of heads at one width, what they attend to, what each contributes, and their projections",
    settings=HeadsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="22 min beside other jobs",
    preview={"heads": (1, 4), "steps": 60, "seeds": (0,)},
)
