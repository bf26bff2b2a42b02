"""Claims about pictures: whatever the script, what is drawn can be read, and a file is never half a picture."""

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.image import imread

from experiments.data.examples import Document, Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Bytes, Characters
from experiments.data.tokenizers.tokens import Tokenizer
from experiments.runs.attention_maps import attention_map
from experiments.runs.open_run import example_text
from experiments.runs.pictures import coverable, easy_to_read, font_for, readable_tokens, save
from experiments.runs.trained import TrainedExperiment
from experiments.tasks.build import build_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.filling import MASK_MARKER
from experiments.tasks.task import Task, TaskSettings
from transformer import build
from transformer.errors import UserError
from transformer.inspection.plots import attention_maps

GLYPHLESS = "\U0010fffd"  # a private character, so that no font of any machine has it
SCRIPTS = [
    "vendredi 20\u00a0novembre 2026",
    "пятница, 20 ноября 2026 г.",
    "Παρασκευή 20 Νοεμβρίου 2026",
    "الجمعة، ٢٠ نوفمبر\u200f",
    "שישי, 20 בנובמבר",
    "2026년 11월 20일 금요일",
    "2026年11月20日星期五",
    "शुक्रवार, 20 नवंबर",
    "วันศุกร์ที่ 20",
    GLYPHLESS,
]


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
    monkeypatch.setattr("experiments.runs.pictures.FT2Font", Font)
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


# The example that is drawn at the end of training.


def experiment_of(task: Task, max_length: int | None, max_new_tokens: int | None = None) -> SimpleNamespace:
    """Build the part of an experiment that the choice of an example reads."""
    model = SimpleNamespace(max_length=max_length, position="learned" if max_length else "rotary")
    config = SimpleNamespace(model=model, decoding=SimpleNamespace(max_new_tokens=max_new_tokens))
    return SimpleNamespace(task=task, config=config)


def task_of(name: str, architecture: str, splits: Splits, tokenizer: Tokenizer, limit: int | None = None, **config):
    settings = TaskSettings(TaskConfig(name, **config), architecture, batch_size=2, limit=limit, too_long="cut")
    return build_task(settings, splits, TokenizerPair.of(tokenizer))


LANGUAGE_MODELS = [
    ("encoder_only", {"mask_rate": 0.3}),
    ("decoder_only", {}),
    ("decoder_only", {"bidirectional_prefix": True}),
    ("seq2seq", {"mask_rate": 0.4, "mean_span": 2.0}),
    *((name, {"objective": "continuation"}) for name in ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")),
]


@pytest.mark.parametrize("max_new_tokens", [None, 3])
@pytest.mark.parametrize("tokenizer", [Bytes(), Characters.fit(["日本語のテスト"])], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize(("architecture", "config"), LANGUAGE_MODELS)
def test_the_example_of_a_language_model_fits_it_whatever_the_script(architecture, config, tokenizer, max_new_tokens):
    documents = [Document("日本語のテスト" * 20)] * 3
    splits = Splits(documents, documents, [])
    task = task_of("language_modelling", architecture, splits, tokenizer, context=14, **config)
    for limit in (task.max_sequence_length(max_new_tokens), None):
        experiment = experiment_of(task, limit, max_new_tokens)
        text = example_text(experiment)
        assert (MASK_MARKER in text) == (task.names["loss"] in ("masked_loss", "span_loss"))
        assert set(text.replace(MASK_MARKER, "")) <= set("日本語のテスト")
        TrainedExperiment(experiment, None, 0, Path()).check([text])
        next(task.prompts([text], 1, max_new_tokens))


@pytest.mark.parametrize("architecture", ["encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq"])
def test_an_example_that_training_cut_is_passed_over_and_where_all_were_there_is_none(architecture):
    long, short = Pair("b" * 30, "x"), Pair("ab", "y")
    for held_out, expected in (([long, short], "ab"), ([long], None)):
        splits = Splits([short, Pair("b", "x")], held_out, [])
        task = task_of("classification", architecture, splits, Characters("ab"), limit=8)
        assert example_text(experiment_of(task, 8)) == expected


def test_gaps_are_no_unknown_characters(capsys):
    documents = [Document("abcd" * 20)] * 3
    task = task_of(
        "language_modelling", "encoder_only", Splits(documents, documents, []), Characters("abcd"), context=14
    )
    TrainedExperiment(experiment_of(task, None), None, 0, Path()).check(["ab<mask>c<mask>"])
    assert not capsys.readouterr().err
    TrainedExperiment(experiment_of(task, None), None, 0, Path()).check(["ab<mask>m"])
    assert capsys.readouterr().err.strip().endswith(": m")


@pytest.mark.more
def test_the_attention_of_a_recurrent_model_is_drawn_and_a_model_without_it_is_an_error():
    splits = Splits([Pair("abc", "b"), Pair("bc", "c")], [Pair("ab", "a")], [])
    task = task_of("text_to_text", "rnn_seq2seq", splits, Characters("abc"))
    sizes = {"architecture": "rnn_seq2seq", "vocab_size": task.vocab_size, "width": 6, "num_layers": 1}
    answer = np.array([6, 1], np.int32)
    for own in ({"num_heads": 2}, {"recurrent": {"attention": "none"}}):
        model = build({**sizes, **own})
        params = model.init(jax.random.key(0))
        if "num_heads" not in own:
            with pytest.raises(UserError, match="the decoder of this model has no cross-attention"):
                attention_map(model, params, task, "abc", answer)
            continue
        drawn = attention_map(model, params, task, "abc", answer)
        assert drawn.weights_LNTS.shape == (1, 2, 2, 4)
        np.testing.assert_allclose(drawn.weights_LNTS.sum(-1), 1.0, rtol=1e-5)
