"""Sinusoids: the codes of positions, and their similarity. Nothing here is random.

code[p, i] = sin(p / 10000^(i / (D/2))), then the cosines;   similarity = code_p . code_q / (D / 2)
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.studies.frame.claim import MOST, Numbers, Study, StudySettings
from experiments.studies.frame.pictures import curve, finish, panels
from experiments.studies.frame.text import Text
from experiments.studies.parts.sinusoid_claims import NEAR, ROUNDING, first_rise, judge
from transformer.inspection.plots import COLOURS
from transformer.ops.positions import sinusoidal
from transformer.schema import at_least, each, setting

DRAWN = 128
"""Positions whose codes are drawn; of the widths, the one nearest to this is drawn."""
even = each(2, MOST, "even numbers", lambda widths: len(widths) > 0 and all(w % 2 == 0 for w in widths))


@dataclasses.dataclass(frozen=True)
class SinusoidsSettings(StudySettings):
    """Sinusoidal codes of positions, and their similarity: python -m experiments.studies sinusoids --length=2048"""

    length: int = setting(2048, "positions (T)", check=at_least(8, MOST))
    width: tuple[int, ...] = setting((8, 32, 128, 512), "widths D of the code", check=even)


def measure(settings: SinusoidsSettings) -> Numbers:
    """Compute the readings of each width, and those of the controls: a wave that repeats, one wave, sines alone."""
    T = settings.length
    codes = {width: np.asarray(sinusoidal(jnp.arange(T), width), np.float64) for width in settings.width}
    repeating_TD = wave(np.arange(T), 2.0 * np.pi / (T // 2))
    shown = min(settings.width, key=lambda width: abs(width - DRAWN))
    return {
        "length": T,
        "rows": {f"{width}": readings(code_TD) for width, code_TD in codes.items()},
        "repeating": nearest(repeating_TD),
        "one_wave": readings(wave(np.arange(T), 1.0)),
        "code_TD": codes[shown][:DRAWN],
    }


def wave(position_T: np.ndarray, rate: float) -> np.ndarray:
    """Compute the code of width 2 with one rate: its sine and its cosine."""
    return np.stack([np.sin(rate * position_T), np.cos(rate * position_T)], axis=1)


def readings(code_TD: np.ndarray) -> dict[str, Any]:
    """Compute similarity_T from position 0, its largest change over positions, and the nearest and largest entries.

    `change` is that of codes of sines and cosines, `change_of_sines` that of the sines alone. `rises` is the share of
    the steps of one position at which the similarity rises, `rank` Spearman's correlation of distance and similarity up
    to the distance NEAR.
    """
    T, D = code_TD.shape
    similarity_T = code_TD @ code_TD[0] / (D / 2)
    end = min(NEAR, T - 1)
    return {
        "similarity_T": similarity_T,
        "change": change(code_TD),
        "change_of_sines": change(code_TD[:, : D // 2]),
        "nearest": nearest(code_TD),
        "largest": float(np.abs(code_TD).max()),
        "rises": float(np.mean(np.diff(similarity_T) > ROUNDING)),
        "rank": float(stats.spearmanr(np.arange(1, end + 1), similarity_T[1 : end + 1]).statistic),
    }


def change(code_TD: np.ndarray) -> float:
    """Compute how much the similarity at one distance changes over positions, at most, of 64 distances."""
    T, D = code_TD.shape
    product_TT = code_TD @ code_TD.T / (D / 2)
    return float(max(np.ptp(np.diagonal(product_TT, d)) for d in range(0, T - 1, max(T // 64, 1))))


def nearest(code_TD: np.ndarray) -> float:
    """Return the least distance of two codes, which is the largest difference of an entry."""
    distances = [np.abs(code_TD[d:] - code_TD[:-d]).max(axis=1).min() for d in range(1, len(code_TD))]
    return float(min(distances))


def draw(numbers: Numbers) -> Figure:
    """Draw the codes of one width, and the similarity of all widths, near and at all distances."""
    figure, grid = panels(3, width=3.9)
    code_TD, T = np.asarray(numbers["code_TD"], float), numbers["length"]
    image = grid[0, 0].imshow(code_TD, cmap="viridis", vmin=-1.0, vmax=1.0, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=grid[0, 0], label="entry", shrink=0.9)
    title = f"codes of the first {len(code_TD)} of {T:,} positions, D = {code_TD.shape[1]}"
    grid[0, 0].set_title(title, fontsize=9, loc="left")
    grid[0, 0].set_xlabel("entry of the code (sines, then cosines)", fontsize=9)
    grid[0, 0].set_ylabel("position (tokens)", fontsize=9)
    distance = np.arange(T)
    spaced = np.unique(np.geomspace(1, T - 1, 400).round().astype(int))
    for axes, shown in ((grid[0, 1], distance[: NEAR + 1]), (grid[0, 2], spaced)):
        for i, (width, row) in enumerate(numbers["rows"].items()):
            similarity_T = np.asarray(row["similarity_T"], float)
            curve(axes, shown, similarity_T[shown], f"D = {width}", i, points=False)
            rise = first_rise(similarity_T)
            if rise is not None and rise <= shown[-1]:
                axes.plot(rise, similarity_T[rise], "o", color=COLOURS[i % len(COLOURS)], markersize=5)
    label = "similarity (1 = same code)"
    finish(grid[0, 1], "similarity, near (dot: first rise)", "distance (tokens)", label, legend=True)
    finish(grid[0, 2], f"similarity at all distances up to {T - 1:,}", "distance (tokens)", label)
    ticks = [10**i for i in range(int(np.log10(T - 1)) + 1)]
    grid[0, 2].set_xscale("log")
    grid[0, 2].set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    return figure


SINUSOIDS = Study(
    title=Text(
        "Sinusoidal codes of positions: their entries, and their similarity against distance",
        "正弦位置编码：各元素，以及相似度随距离的变化",
    ),
    settings=SinusoidsSettings,
    measure=measure,
    judge=judge,
    draw=draw,
    cost="seconds",
)
