"""Claims about the pictures of a run: none costs the run its result, and a part of an attention map is named so."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import explore
from experiments.data.examples import Document, Pair, Splits
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.runs import drawing
from experiments.runs.attention_maps import attention_map
from experiments.runs.pictures import attempt
from experiments.runs.trained import TrainedExperiment
from experiments.tasks.build import build_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.task import TaskSettings
from transformer import build
from transformer.errors import UserError

SMALL = build(architecture="decoder_only", vocab_size=5, num_layers=1)


def raise_(error: Exception):
    raise error


@pytest.mark.parametrize("error", [MemoryError("too\nlarge"), ValueError("x" * 9999), OSError(28, "full", "a.png")])
def test_a_picture_that_fails_is_a_line(error, capsys):
    assert not attempt(lambda: raise_(error), Path("a.png"))
    line = capsys.readouterr().err
    assert line.startswith(f"warning: no picture a.png: {type(error).__name__}: ")
    assert line.count("\n") == 1
    assert len(line) < 400
    assert attempt(lambda: None, Path("a.png"))


def test_the_pictures_of_training_that_can_be_drawn_are_listed(monkeypatch, capsys, tmp_path):
    run = SimpleNamespace(experiment=SimpleNamespace(model=SMALL), workdir=tmp_path)
    monkeypatch.setattr(drawing, "example_text", lambda experiment: "a")
    monkeypatch.setattr(drawing, "_draw_curves", lambda run, path: None)
    monkeypatch.setattr(drawing, "_draw_example", lambda run, path: raise_(MemoryError()))
    assert drawing.draw_run(run) == {"curves": tmp_path / "plots" / "curves.png"}
    assert "no picture" in capsys.readouterr().err


def test_the_curve_of_a_training_with_dropout_is_named_so(tmp_path):
    line = {"step": 1, "split": "train", "loss": 2.0, "seconds": 0.1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert drawing.series(tmp_path, "loss") == {"train: mean since the last point": ([1], [2.0])}
    assert list(drawing.series(tmp_path, "loss", dropout=True)) == ["train: mean since the last point, dropout on"]


@pytest.mark.parametrize(("architecture", "layers"), [("decoder_only", 0), ("encoder_only", 0), ("seq2seq", 2)])
def test_a_mixer_without_weights_leaves_cross_attention_to_draw(architecture, layers):
    assert drawing.attention_layers(SMALL) == 1
    assert drawing.attention_layers(build(architecture=architecture, vocab_size=5, mixer="linear")) == layers


@pytest.mark.parametrize(("layer", "name"), [(-1, "explore.png"), (0, "explore_layer_0.png")])
def test_explore_prints_the_answer_before_its_picture_and_each_layer_has_a_file(
    layer, name, monkeypatch, capsys, tmp_path
):
    run = SimpleNamespace(check=lambda texts: None, experiment=SimpleNamespace(model=SMALL))
    monkeypatch.setattr(explore, "open_run", lambda *args, **settings: run)
    monkeypatch.setattr(explore, "answer_text", lambda run, text: (np.zeros(1, int), "[b] :x:"))

    def draw(run, source, ids, path, drawn_layer):
        assert (path, drawn_layer) == (tmp_path / "plots" / name, layer)
        raise UserError("too large")

    monkeypatch.setattr(explore, "draw_attention", draw)
    with pytest.raises(UserError, match="too large"):
        explore.main([f"--workdir={tmp_path}", "--input=[red] 1:100:3", f"--layer={layer}"])
    assert capsys.readouterr().out == "[red] 1:100:3 -> [b] :x:\n"
    for other in (1, -2):
        with pytest.raises(UserError, match=f"no such layer; got {other}; expected 0 to 0, or negative"):
            explore.main([f"--workdir={tmp_path}", "--input=a", f"--layer={other}"])
    assert not capsys.readouterr().out


def task_of(name: str, architecture: str, examples: list, **config):
    settings = TaskSettings(TaskConfig(name, **config), architecture, batch_size=2)
    return build_task(settings, Splits(examples, examples, []), TokenizerPair.of(Characters("abc")))


def attention_of(task, text: str, answer: list[int]):
    architecture = task.settings.architecture
    sizes = {"architecture": architecture, "vocab_size": task.vocab_size, "width": 6, "num_heads": 2, "num_layers": 1}
    model = build(sizes)
    return attention_map(model, model.init(jax.random.key(0)), task, text, np.array(answer, np.int32))


def test_a_picture_of_some_keys_states_that_its_rows_need_not_add_up_to_1(monkeypatch):
    pairs = [Pair("abc", "b"), Pair("bc", "c")]
    drawn = attention_of(task_of("text_to_text", "decoder_only", pairs), "abc", [6, 7, 2])
    assert not drawn.all_keys
    assert (drawn.weights_LNTS.sum(-1) < 0.999).any()
    titles = []
    monkeypatch.setattr(drawing, "attention_map", lambda *args: drawn)
    monkeypatch.setattr(drawing, "attention_maps", lambda *args, title, **settings: titles.append(title))
    monkeypatch.setattr(drawing, "save", lambda figure, path: None)
    task = SimpleNamespace(generates=True)
    run = TrainedExperiment(SimpleNamespace(task=task, model=None), None, 3, Path())
    drawing.draw_attention(run, "abc", np.array([6, 7, 2]), Path("a.png"))
    assert "rows need not add up to 1" in titles[0]


def test_the_sentinels_of_an_answer_have_names():
    documents = [Document("abc" * 30)] * 2
    task = task_of("language_modelling", "seq2seq", documents, context=12, mask_rate=0.3, mean_span=2.0)
    first = task.tokenizers.size
    drawn = attention_of(task, "a<mask>c<mask>", [first, 6, first + 1, 5, 2])
    assert drawn.source_tokens == ["a", "<s0>", "c", "<s1>", "<end>"]
    assert drawn.answer_tokens == ["<s0>", "a", "<s1>", "<unknown>", "<end>"]
    assert drawn.all_keys
