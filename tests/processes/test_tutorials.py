"""The tutorials run as they stand, and each ends with a figure."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.py"))


@pytest.mark.more
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_ends_with_a_figure(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matplotlib, "rcParams", matplotlib.rcParams.copy())
    matplotlib.use("agg")
    names = {"__name__": path.stem}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    plt.close("all")
    assert (tmp_path / f"{path.stem}.png").stat().st_size > 5_000


def test_each_tutorial_has_its_figure_beside_it():
    assert len(TUTORIALS) == 5
    assert all(path.with_suffix(".png").exists() for path in TUTORIALS)
