"""Sinusoids: the codes of positions, and their similarity. Nothing here is random.

code[p, i] = sin(p / 10000^(i / (D/2))), then the cosines;   similarity = code_p . code_q / (D / 2)
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.studies.frame.claim import (
    DIFFERS,
    HOLDS,
    HOLDS_IF,
    MOST,
    Claim,
    Numbers,
    Study,
    StudySettings,
    judge_cases,
)
from experiments.studies.frame.pictures import curve, finish, panels
from transformer.ops.positions import sinusoidal
from transformer.schema import at_least, each, setting

APART = 1e-3
"""Largest difference of an entry up to which two codes count as the same."""
ALIKE = 1e-3
"""Largest change of a similarity that counts as none."""
ROUNDING = 1e-6
DRAWN = 128
"""Positions whose codes are drawn; of the widths, the one nearest to this is drawn."""
even = each(2, MOST, "even numbers", lambda widths: all(w % 2 == 0 for w in widths))


@dataclasses.dataclass(frozen=True)
class SinusoidsSettings(StudySettings):
    """Sinusoidal codes of positions, and their similarity: python -m experiments.studies sinusoids --length=2048"""

    length: int = setting(2048, "positions (T)", check=at_least(8, MOST))
    width: tuple[int, ...] = setting((8, 32, 128, 512), "widths D of the code", check=even)


def measure(settings: SinusoidsSettings) -> Numbers:
    """Compute similarity_T from position 0, its largest change over positions, nearest and largest, by width."""
    rows = {}
    for width in settings.width:
        code_TD = np.asarray(sinusoidal(jnp.arange(settings.length), width), np.float64)
        product_TT = code_TD @ code_TD.T / (width / 2)
        T = len(code_TD)
        diagonals = [np.ptp(np.diagonal(product_TT, d)) for d in range(0, T - 1, max(T // 64, 1))]
        rows[width] = {
            "similarity_T": product_TT[0],
            "change": max(diagonals),
            "nearest": nearest(code_TD),
            "largest": float(np.abs(code_TD).max()),
        }
    shown = min(settings.width, key=lambda width: abs(width - DRAWN))
    code_TD = np.asarray(sinusoidal(jnp.arange(DRAWN), shown))
    return {"length": settings.length, "width": settings.width, "rows": rows, "code_TD": code_TD}


def nearest(code_TD: np.ndarray) -> float:
    """Return the least distance of two codes, which is the largest difference of an entry."""
    distances = [np.abs(code_TD[d:] - code_TD[:-d]).max(axis=1).min() for d in range(1, len(code_TD))]
    return float(min(distances))


def first_rise(similarity_T: np.ndarray) -> int | None:
    """Return the first distance at which the similarity is higher than one position nearer; None: there is none."""
    rises = np.flatnonzero(np.diff(np.asarray(similarity_T, float)) > ROUNDING)
    return int(rises[0]) + 1 if len(rises) else None


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the entries of the codes and on their similarity."""
    rows, T = numbers["rows"], numbers["length"]
    bounded = Claim(
        said="Each position has a code of its own, with entries in [-1, 1]",
        **judge_cases(
            {f"{w}": r["nearest"] > APART and r["largest"] <= 1.0 + ROUNDING for w, r in rows.items()}, word="D is "
        ),
        criterion=f"no two of {T} codes agree within {APART:g} in every entry; no entry beyond 1, at this width",
        measured="; ".join(f"D = {w}: two codes differ by {r['nearest']:.3g} or more" for w, r in rows.items()),
        instead="This is true of the positions and widths that were tried: one wave repeats, all together do not.",
        seeds=None,
    )
    relative = Claim(
        said="The similarity of two codes depends on their distance alone",
        found=HOLDS if all(r["change"] < ALIKE for r in rows.values()) else DIFFERS,
        criterion=f"at one distance it changes by less than {ALIKE:g} over positions, at every width",
        measured=f"it changes by at most {max(r['change'] for r in rows.values()):.1e}",
        instead="sin a sin b + cos a cos b = cos(a - b) is true of the codes alone. Projections to queries and keys, "
        "and the tokens that codes are added to, change that.",
        seeds=None,
    )
    rises = {w: first_rise(r["similarity_T"]) for w, r in rows.items()}
    shortest = min((d for d in rises.values() if d is not None), default=None)
    falling = HOLDS if shortest is None else HOLDS_IF if shortest > 2 else DIFFERS
    falls = Claim(
        said="The further apart two positions are, the less similar their codes",
        found=falling,
        condition=f"the distance is below {shortest}" if falling == HOLDS_IF else "",
        criterion="the similarity never rises with distance; if: up to the first distance at which it does (above 2)",
        measured="; ".join(
            f"D = {w}: rises first at {'none' if d is None else d}; {numbers['rows'][w]['similarity_T'][T // 2]:.2f} "
            f"at {T // 2}"
            for w, d in rises.items()
        ),
        instead="It falls over the first few positions and then oscillates around a slowly falling mean.",
        seeds=None,
    )
    return [bounded, relative, falls]


def draw(numbers: Numbers) -> Figure:
    """Draw the codes of one width, and the similarity of all widths, near and far."""
    figure, grid = panels(3, width=3.8)
    code_TD = np.asarray(numbers["code_TD"], float)
    image = grid[0, 0].imshow(code_TD, cmap="viridis", vmin=-1.0, vmax=1.0, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=grid[0, 0], label="entry", shrink=0.9)
    grid[0, 0].set_title(f"codes of {len(code_TD)} positions, D = {code_TD.shape[1]}", fontsize=9, loc="left")
    grid[0, 0].set_xlabel("entry of the code (sines, then cosines)", fontsize=9)
    grid[0, 0].set_ylabel("position (tokens)", fontsize=9)
    for axes, end, title in ((grid[0, 1], 64, "near"), (grid[0, 2], numbers["length"], "far")):
        for i, (width, row) in enumerate(numbers["rows"].items()):
            similar = np.asarray(row["similarity_T"], float)[:end]
            every = max(len(similar) // 256, 1)
            curve(axes, np.arange(len(similar))[::every], similar[::every], f"D = {width}", i, points=False)
        finish(
            axes, f"similarity, {title}", "distance (tokens)", "similarity (1 = same code)", legend=axes is grid[0, 1]
        )
    return figure


SINUSOIDS = Study(
    title="Sinusoidal codes: their entries, and their similarity against distance",
    settings=SinusoidsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
