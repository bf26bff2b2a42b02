"""Claims about pictures: whatever the script, what is drawn can be read, and a file is never half a picture."""

import os
import resource
import signal

import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.image import imread

from experiments.pictures import coverable, easy_to_read, font_for, readable_tokens, save
from transformer.inspection.plots import attention_maps

GLYPHLESS = "\U0010fffd"  # a private character, so that no font of any machine has it
SCRIPTS = [
    "vendredi 20\u00a0novembre 2026", "пятница, 20 ноября 2026 г.", "Παρασκευή 20 Νοεμβρίου 2026",
    "الجمعة، ٢٠ نوفمبر\u200f", "שישי, 20 בנובמבר", "2026년 11월 20일 금요일", "2026年11月20日星期五",
    "शुक्रवार, 20 नवंबर", "วันศุกร์ที่ 20", GLYPHLESS,
]  # fmt: skip


@pytest.mark.parametrize("text", SCRIPTS[:5])
def test_the_font_that_comes_with_matplotlib_covers_many_scripts(text):
    assert font_for(text) == ["DejaVu Sans"]
    assert coverable(text)


def test_a_character_without_a_glyph_is_not_coverable_and_is_written_as_its_code():
    assert font_for("a" + GLYPHLESS) is None
    assert not coverable(GLYPHLESS)
    assert readable_tokens(["a", GLYPHLESS, f"b{GLYPHLESS}c", " ", "<end>"]) == [
        "a",
        "U+10FFFD",
        "bU+10FFFDc",
        " ",
        "<end>",
    ]


def test_a_mark_that_cannot_be_seen_is_written_as_its_code():
    assert readable_tokens(["\u200f", "\u061c", "\n", "\u00a0"]) == ["U+200F", "U+061C", "\n", "\u00a0"]


def test_several_fonts_are_joined_when_one_is_not_enough(monkeypatch):
    def entry(name: str):
        return next(e for e in fontManager.ttflist if e.name == name and e.style == "normal")

    class Other:
        name, style, weight, fname = "Other", "normal", 400, "other"

    class Font:
        def __init__(self, path: str) -> None:
            self.path = path

        def get_charmap(self) -> dict:
            return {ord("年"): 1, ord("月"): 2} if self.path == "other" else FT2Font(self.path).get_charmap()

    monkeypatch.setattr(fontManager, "ttflist", [Other(), entry("DejaVu Serif"), entry("DejaVu Sans")])
    monkeypatch.setattr("experiments.pictures.FT2Font", Font)
    assert font_for("年Б月") == ["DejaVu Sans", "Other"]
    assert font_for("年Б日") is None
    assert readable_tokens(list("年Б日")) == ["年", "Б", "U+65E5"]


@pytest.mark.parametrize("text", SCRIPTS)
def test_every_script_is_drawn_without_a_missing_glyph(tmp_path, text):
    keys, queries = readable_tokens(list(text)), list("2026")  # a missing glyph is a warning, so an error in the tests
    weights = np.random.default_rng(0).dirichlet(np.ones(len(keys)), size=(2, 4)).astype(np.float32)
    figure = attention_maps(weights, queries, keys, font_family=font_for("".join(keys)))
    save(figure, tmp_path / "plots" / "attention.png", dpi=40)
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["attention.png"]
    assert imread(tmp_path / "plots" / "attention.png").shape[0] > 40


def test_a_picture_that_cannot_be_written_leaves_the_old_one_and_names_the_path(tmp_path):
    figure = attention_maps(np.ones((1, 1, 1), np.float32), ["a"], ["b"])
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(OSError, match="the picture could not be written") as error:
            save(figure, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["picture.png"]
    with pytest.raises(OSError, match="File exists") as error:
        save(figure, path / "below.png")
    assert error.value.filename == str(path / "below.png")


def test_a_text_that_runs_from_right_to_left_is_not_easy_to_read():
    assert easy_to_read("vendredi 20 novembre 2026")
    assert not easy_to_read("20 نوفمبر 2026")
    assert not easy_to_read("20 \U0010ffff 2026")
