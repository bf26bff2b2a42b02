"""Ablation: rows of table 3 of "Attention Is All You Need" (Vaswani et al. 2017, arXiv:1706.03762) at a small size.

The paper's base is D = 512, N = 8, H = 64, 6 layers, F = 2048, dropout 0.1, smoothing 0.1, sinusoids; here it is a
small one of the same shape, on few examples, so that dropout can matter. Each row changes one setting, as the paper's.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    MOST,
    MOST_STEPS,
    SHAPE_ONLY,
    Claim,
    Numbers,
    Study,
    StudySettings,
    above_zero,
    judge_cases,
    spread,
)
from experiments.studies.frame.pictures import bars, finish, panels
from experiments.studies.frame.training import train_lanes
from experiments.studies.parts import pairs
from transformer.schema import Check, at_least, setting

BASE = "base"
RATE = 3e-3
SMOOTHING = 0.1
ROWS: dict[str, Mapping[str, Any]] = {
    BASE: {},
    "1 head": {"num_heads": 1, "head_width": 48},
    "12 heads": {"num_heads": 12, "head_width": 4},
    "narrow keys": {"head_width": 4},
    "1 layer": {"num_layers": 1},
    "3 layers": {"num_layers": 3},
    "half width": {"width": 24, "feed_forward_width": 96},
    "double width": {"width": 96, "feed_forward_width": 384},
    "no dropout": {"dropout": None},
    "dropout 0.3": {"dropout": 0.3},
    "no smoothing": {},
    "learned positions": {"position": "learned"},
}
"""Changes of the base model, by row; N H = D stays where the number of heads changes, as in the paper's row (A)."""
ONE_HEAD, MANY_HEADS, NARROW, SHALLOW, DEEP, SMALL, LARGE, NO_DROPOUT, MORE_DROPOUT, SHARP, LEARNED = list(ROWS)[1:]
COMMON: Mapping[str, Any] = dict(num_layers=2, width=48, num_heads=4, feed_forward_width=192, dropout=0.1)
"""Model settings of the base."""
LONGEST = 48
"""Most tokens of a source or a target; longer pairs are left out."""
with_base = Check(lambda rows: BASE in rows, f"rows with {BASE!r} among them")


@dataclasses.dataclass(frozen=True)
class AblationSettings(StudySettings):
    """Rows of the paper's table 3: python -m experiments.studies ablation --examples=500"""

    data: str | None = setting(None, pairs.FLAG)
    rows: tuple[str, ...] = setting(tuple(ROWS), "rows of the table that are trained", allowed=ROWS, check=with_base)
    examples: int = setting(1000, "largest number of training pairs", check=at_least(1, MOST_STEPS))
    held_out: int = setting(
        512, "largest number of held-out pairs; dates: of other days", check=at_least(4, MOST_STEPS)
    )
    batch: int = setting(32, "pairs per update", check=at_least(1, MOST))
    steps: int = setting(400, "updates per row", check=at_least(2, MOST_STEPS))


def measure(settings: AblationSettings) -> Numbers:
    """Train each row: nats_R per token and accuracy_R (of tokens), both held out."""
    held = pairs.read_pairs(
        settings.data, locales=pairs.LOCALES, examples=settings.examples, held_out=settings.held_out, longest=LONGEST
    )
    data, check = (
        jax.tree.map(jnp.asarray, pairs.as_batch(held, part, "seq2seq")) for part in (held.train, held.check)
    )
    found = {}
    for name in settings.rows:
        limit = {"max_length": LONGEST + 1} if ROWS[name].get("position") == "learned" else {}
        model = transformer.build({"vocab_size": held.vocabulary, **COMMON, **limit, **ROWS[name]})
        smoothing = None if name == SHARP else SMOOTHING
        options = dict(seeds=settings.seeds, steps=settings.steps, rates=(RATE,), smoothing=smoothing, name=name)
        trained = train_lanes(model, pairs.sampler(settings.batch), data, **options)
        scores = trained.each(lambda params, model=model: pairs.score_pairs(model, params, check))
        nats_R, correct_R, tokens_R = (scores[key][0].sum(1) for key in ("nats_N", "correct_N", "tokens_N"))
        found[name] = {"nats_R": nats_R / tokens_R, "accuracy_R": correct_R / tokens_R}
    return {"examples": len(held.train), "rows": found}


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims whose rows, and the base, were trained."""
    rows = {name: {key: np.asarray(x, float) for key, x in row.items()} for name, row in numbers["rows"].items()}
    claims = [claim for needed, claim in CLAIMS if {BASE, *needed} <= set(rows)]
    return [claim(rows) for claim in claims]


Rows = Mapping[str, Mapping[str, np.ndarray]]


def added(rows: Rows, name: str, key: str = "nats_R") -> np.ndarray:
    """Compute a reading of a row less that of the base, for each seed."""
    return rows[name][key] - rows[BASE][key]


def beside_base(rows: Rows, *names: str) -> str:
    """Format both readings of rows, less those of the base."""
    each = (
        f"{n} {spread(added(rows, n), signed=True)} nats and {spread(added(rows, n, 'accuracy_R'), signed=True)} right"
        for n in names
    )
    base = f"base {spread(rows[BASE]['nats_R'])} nats per token, {spread(rows[BASE]['accuracy_R'])} of tokens right"
    return f"{base}; added to it: " + "; ".join(each)


def worse(rows: Rows, name: str) -> bool:
    """Return whether a row's held-out loss is above that of the base by more than the interval."""
    return above_zero(added(rows, name))


WORSE = "its held-out loss is above that of the base by more than the interval"


def _heads(rows: Rows) -> Claim:
    """Judge the claim on the number of heads."""
    return Claim(
        said="One head is worse than several, and so are too many (A)",
        **judge_cases({name: worse(rows, name) for name in (ONE_HEAD, MANY_HEADS)}, word="it is "),
        criterion=WORSE,
        measured=beside_base(rows, ONE_HEAD, MANY_HEADS),
        instead="The paper: 0.9 BLEU for one head against the best; heads of 16 entries were a little worse too.",
        seeds=len(rows[BASE]["nats_R"]),
    )


def _keys(rows: Rows) -> Claim:
    """Judge the claim on narrow heads."""
    return Claim(
        said="Narrower heads, at one number of them, are worse (B)",
        found=HOLDS if worse(rows, NARROW) else DIFFERS,
        criterion=WORSE,
        measured=beside_base(rows, NARROW),
        instead="The paper narrows keys alone; here values become as narrow.",
        seeds=len(rows[BASE]["nats_R"]),
    )


def _size(rows: Rows) -> Claim:
    """Judge the claim on the size of the model."""
    bigger = {
        "it becomes deeper": worse(rows, SHALLOW) and above_zero(-added(rows, DEEP)),
        "it becomes wider": worse(rows, SMALL) and above_zero(-added(rows, LARGE)),
    }
    return Claim(
        said="A bigger model is better (C)",
        **judge_cases(bigger),
        criterion="the smaller has more held-out loss than the base, the larger less, both by more than the interval",
        measured=beside_base(rows, SHALLOW, DEEP, SMALL, LARGE),
        instead="This is measured with as many examples and updates as here.",
        seeds=len(rows[BASE]["nats_R"]),
    )


def _dropout(rows: Rows) -> Claim:
    """Judge the claim on dropout."""
    return Claim(
        said="No dropout is worse (D)",
        found=HOLDS if worse(rows, NO_DROPOUT) else DIFFERS,
        criterion=WORSE,
        measured=beside_base(rows, NO_DROPOUT, MORE_DROPOUT),
        instead="This is measured at this size and with this number of updates; the paper's base model has 100,000.",
        seeds=len(rows[BASE]["nats_R"]),
    )


def _smoothing(rows: Rows) -> Claim:
    """Judge the claim on label smoothing."""
    sharper = above_zero(-added(rows, SHARP))
    fewer = above_zero(-added(rows, SHARP, "accuracy_R"))
    return Claim(
        said="Without label smoothing perplexity is lower, and accuracy (the paper: BLEU) too (D)",
        found=HOLDS if sharper and fewer else SHAPE_ONLY if sharper else DIFFERS,
        criterion="held-out loss and tokens right are both below those of the base by more than the interval; shape "
        "only: the loss is",
        measured=beside_base(rows, SHARP),
        instead="Smoothing trains for a flatter distribution than the loss measures; its effect on the most likely "
        "token is a separate question.",
        seeds=len(rows[BASE]["nats_R"]),
    )


def _learned(rows: Rows) -> Claim:
    """Judge the claim on learned positions."""
    alike = not worse(rows, LEARNED) and not above_zero(-added(rows, LEARNED))
    return Claim(
        said="Learned positions do about as well as sinusoids (E)",
        found=HOLDS if alike else DIFFERS,
        criterion="held-out loss differs from that of the base by no more than the interval",
        measured=beside_base(rows, LEARNED),
        instead="Sinusoids distinguish neighbours from the first update on; a table has to learn it from the examples.",
        seeds=len(rows[BASE]["nats_R"]),
    )


CLAIMS = (
    ((ONE_HEAD, MANY_HEADS), _heads),
    ((NARROW,), _keys),
    ((SHALLOW, DEEP, SMALL, LARGE), _size),
    ((NO_DROPOUT, MORE_DROPOUT), _dropout),
    ((SHARP,), _smoothing),
    ((LEARNED,), _learned),
)
"""Pairs of the rows that a claim needs beside the base, and the function that judges it."""


def draw(numbers: Numbers) -> Figure:
    """Draw the held-out loss and the accuracy of each row."""
    rows = numbers["rows"]
    figure, grid = panels(2, width=3.8, height=3.6)
    names = list(rows)
    for axes, key, label in (
        (grid[0, 0], "nats_R", "held-out loss (nats per token)"),
        (grid[0, 1], "accuracy_R", "held-out tokens right (share)"),
    ):
        values = np.array([rows[name][key] for name in names], float)
        bars(axes, names, values)
        if BASE in rows:
            axes.axvline(float(np.mean(rows[BASE][key])), color="black", linestyle=":", linewidth=1.0)
        finish(axes, f"{numbers['examples']:,} examples (dotted: base)", label, "")
    return figure


ABLATION = Study(
    title="Rows of table 3 of Attention Is All You Need, at a small size",
    settings=AblationSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="41 min, 10 of them paused, beside other jobs",
    preview={"rows": (BASE, NO_DROPOUT, MORE_DROPOUT, SHARP), "steps": 60, "seeds": (0,)},
)
