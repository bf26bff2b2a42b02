"""Heads: how many, at the same width and so the same number of parameters; what they look at; what each is worth.

N heads of H = D / N each. Vaswani et al. 2017, table 3 (A), vary N likewise.
Switching off: Michel et al. 2019, https://arxiv.org/abs/1905.10650; the head's mix of values becomes zero.
What two heads share: sum over s of min(weight, weight'), 1 where they look at the same. See also `projections`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import (
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
from transformer.schema import Check, at_least, setting

RATES = (1e-3, 3e-3)
LAYERS, FORWARD = 2, 128
CONCATENATED = (12, 64)
"""Heads and their width: those of the base model of BERT and GPT-2."""
WEIGHTS = "decoder.*.self.weights"
DIFFERENT = 0.5
"""Two heads that share less of their weight than this look at different things."""
counts = Check(lambda n: len(n) > 1 and min(n) > 0 and list(n) == sorted(set(n)), "two or more numbers that rise")


@dataclasses.dataclass(frozen=True)
class HeadsSettings(StudySettings):
    """How many heads: python -m experiments.studies heads --heads=1,4,16"""

    heads: tuple[int, ...] = setting((1, 2, 4, 8, 16), "N, which must divide D", check=counts)
    width: int = setting(64, "D", check=at_least(1))
    way_heads: int = setting(4, "N of the ways of projecting", check=at_least(1))
    steps: int = setting(300, "updates of each model", check=at_least(2))
    batch: int = setting(16, "windows of 64 bytes an update", check=at_least(1))
    text: str | None = setting(None, text.FLAG)


def measure(settings: HeadsSettings) -> Numbers:
    """loss_NR (nats per byte, held out); by N, off: loss_LNR with one head of one layer switched off, and looks."""
    learn, check = parts = tuple(jnp.asarray(part) for part in text.corpus(settings.text))
    (batch,) = held_out(text.windows(256, text.WINDOW), check)
    losses, off, looks = [], {}, {}
    for N in settings.heads:
        model = transformer.build(dict(architecture="decoder_only", num_heads=N, **shape_of(settings)))
        options = dict(seeds=settings.seeds, steps=settings.steps, rates=RATES, name=f"{N} heads")
        trained = train_lanes(model, text.windows(settings.batch, text.WINDOW), learn, **options)
        found = trained.each(lambda params, model=model: switched_off(model, params, batch))
        at = best_rate(found["all_on"])
        losses.append(found["all_on"][at])
        off[N] = np.moveaxis(found["off_LN"][at], 0, -1)
        seen = trained.each(lambda params, model=model: looks_at(model, params, batch))
        looks[N] = {name: np.moveaxis(x[at], 0, -1) for name, x in seen.items()}
    return {
        "heads": settings.heads,
        "width": settings.width,
        "loss_NR": np.stack(losses),
        "off": off,
        "looks": looks,
        "ways": {way: projected(way, parts, settings) for way in projections.WAYS},
        "concatenated": projections.concatenated(random_keys(settings), *CONCATENATED),
        "concatenated_heads": CONCATENATED,
    }


def shape_of(settings: HeadsSettings) -> dict[str, int]:
    """What all models have alike."""
    return dict(vocab_size=text.VOCABULARY, num_layers=LAYERS, width=settings.width, feed_forward_width=FORWARD)


def projected(way: str, parts: Sequence[np.ndarray], settings: HeadsSettings) -> dict[str, object]:
    """loss_R (nats per byte, held out) of a model with these projections."""
    model = projections.model_of(way, heads=settings.way_heads, **shape_of(settings))
    options = dict(batch=settings.batch, seeds=settings.seeds, steps=settings.steps, rates=RATES, name=way)
    loss_AR = text.held_out_loss(model, parts, side="source", **options)
    return {"loss_R": loss_AR[best_rate(loss_AR)], "parameters": number_of_parameters(model)}


def looks_at(model: Model, params: object, batch: Batch) -> dict[str, jax.Array]:
    """How far back each head looks on average, distance_LN (tokens), and what two heads of a layer share, shared_L."""
    few = {name: x[:32] for name, x in batch.items()}
    weights_LBNTS = model.apply(params, few, capture=(WEIGHTS,))["captured"][WEIGHTS]
    N, T = weights_LBNTS.shape[2:4]
    back_TS = jnp.arange(T)[:, None] - jnp.arange(T)
    distance_LN = jnp.sum(weights_LBNTS * back_TS, axis=-1).mean((1, 3))
    shared = lambda i: jnp.minimum(weights_LBNTS, jnp.roll(weights_LBNTS, i, axis=2)).sum(-1).mean((1, 2, 3))  # noqa: E731
    shared_L = jax.lax.map(shared, jnp.arange(1, N)).mean(0) if N > 1 else jnp.ones(LAYERS)
    return {"distance_LN": distance_LN, "shared_L": shared_L}


def switched_off(model: Model, params: object, batch: Batch) -> dict[str, jax.Array]:
    """The loss with all heads, and with each head of each layer at zero.

    A head's weight in the output projection is set to zero, which is the same as its mix being zero.
    """
    sums = lambda params: loss_of(model, params, batch)  # noqa: E731
    N = model.config.num_heads
    leaves, structure = jax.tree.flatten(params)
    axes = structure.flatten_up_to(model.parameter_axes(params))
    (place,) = (i for i, a in enumerate(axes) if a.letters == ("L", "N", "H", "D"))

    def without(i: jax.Array) -> jax.Array:
        kernel = leaves[place].at[i // N, i % N].set(0.0)
        return sums(structure.unflatten([*leaves[:place], kernel, *leaves[place + 1 :]]))

    off = jax.lax.map(without, jnp.arange(LAYERS * N))
    return {"all_on": sums(params), "off_LN": off.reshape(LAYERS, N)}


def loss_of(model: Model, params: object, batch: Batch) -> jax.Array:
    """Nats per byte."""
    logits = model.apply(params, batch)["logits"]
    return jnp.mean(cross_entropy(logits, batch["labels"]))


def judge(numbers: Numbers) -> Sequence[Claim]:
    loss_NR, heads = np.asarray(numbers["loss_NR"], float), numbers["heads"]
    gain = {f"{n}": above_zero(loss_NR[0] - loss_NR[i]) for i, n in enumerate(heads) if i}
    each = [f"N = {n}: {spread(loss_NR[i])}" for i, n in enumerate(heads)]
    seeds = loss_NR.shape[1]
    several = Claim(
        said=f"Several heads are better than {heads[0]} of the same width in all",
        **judge_cases(gain, word="N is "),
        criterion=f"held-out loss is below that of {heads[0]} by more than the interval, each at its better rate",
        measured="nats per byte, " + "; ".join(each),
        instead="At one width more heads are narrower heads. Whether that pays is a matter of width, data and updates.",
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
        instead="See each step by itself.",
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
        measured="nats per byte that the least needed head costs, "
        + "; ".join(f"N = {n}: {spread(row.min(0), signed=True)}" for n, row in damage.items()),
        instead="Of a model that is not trained again without it.",
        seeds=seeds,
    )
    shared = {n: np.asarray(row["shared_L"], float).mean(0) for n, row in numbers["looks"].items() if int(n) > 1}
    apart = {n: np.asarray(row["distance_LN"], float) for n, row in numbers["looks"].items() if int(n) > 1}
    ends = lambda of_NR: f"{of_NR.min(0).mean():.1f} to {of_NR.max(0).mean():.1f}"  # noqa: E731
    different = Claim(
        said="Different heads look at different things",
        **judge_cases({f"{n}": bool(np.all(x < DIFFERENT)) for n, x in shared.items()}, word="N is "),
        criterion=f"two heads of a layer share less than {DIFFERENT:g} of their weight on average (1: they look at the "
        "same), for every seed",
        measured="share, and how far back the nearest and the furthest head of each layer look (tokens, mean over "
        "seeds): " + "; ".join(f"N = {n}: {spread(x)}, " + ", ".join(map(ends, apart[n])) for n, x in shared.items()),
        instead="Of the share alone: what a head is worth is another question.",
        seeds=seeds,
    )
    return [several, more, needed, different, *projections.judge(numbers)]


def added(numbers: Numbers) -> dict[str, np.ndarray]:
    """N -> the loss that switching off each head adds, (L N) R."""
    loss_NR = np.asarray(numbers["loss_NR"], float)
    rows = (np.asarray(off, float).reshape(-1, loss_NR.shape[1]) for off in numbers["off"].values())
    return {f"{n}": row - loss_R for n, row, loss_R in zip(numbers["off"], rows, loss_NR, strict=True)}


def draw(numbers: Numbers) -> Figure:
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
    finish(grid[1, 0], "where each head looks (first seed)", "heads N", "mean distance back (tokens)", legend=True)
    names = list(numbers["ways"])
    losses = np.array([numbers["ways"][name]["loss_R"] for name in names], float)
    bars(grid[1, 1], names, losses)
    grid[1, 1].set_xlim(left=0.95 * np.nanmin(losses))
    finish(grid[1, 1], "projections, at equal parameters", "held-out loss (nats per byte)", "")
    return figure


HEADS = Study(
    title="How many heads at one width, what they look at, what each is worth, and projections around them",
    settings=HeadsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="22 min beside other jobs",
    preview={"heads": (1, 4), "steps": 60, "seeds": (0,)},
)
