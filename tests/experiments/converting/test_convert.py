"""Claims about runs in other formats, and about runs that are made of a checkpoint: numbers, files, mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file

from experiments import convert
from experiments.converting.formats import convert as convert_run
from experiments.runs.open_run import open_run
from experiments.storage.workdir import read_record
from tests.fixtures.commands import fails, outcome
from tests.fixtures.pretrained import BERT, GPT2, classification, language_modelling, write_checkpoint
from tests.fixtures.stored_run import make_run, pairs
from transformer import nested
from transformer.interop import load_pretrained
from transformer.interop.new_directory import new_directory

CLASSES = {**BERT, "class_head": {"classes": 2, "transform": "tanh", "reads": "first"}}


def recipe_file(folder: Path, recipe) -> Path:
    """A recipe as a file."""
    path = folder / "recipe.py"
    values = json.dumps(recipe.to_dict())
    path.write_text(
        f"import json\nfrom ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict(json.loads({values!r}), type_safe=False)\n"
    )
    return path


def made(folder: Path, settings: dict, recipe, entries: dict, capsys) -> Path:
    """A run at step 0 of a checkpoint, made by the command."""
    write_checkpoint(folder / "model", settings, entries)
    words = [f"--from={folder / 'model'}", f"--config={recipe_file(folder, recipe)}", f"--workdir={folder / 'run'}"]
    code, out, error = outcome(convert.main, words, capsys)
    assert (code, error) == (0, "")
    assert out.endswith(f"written: {folder / 'run'}\n")
    return folder / "run"


@pytest.fixture
def bert(tmp_path, capsys):
    folder, entries = tmp_path / "bert", {"id2label": {"0": "ask", "1": "tell"}}
    return made(folder, CLASSES, classification(folder), entries, capsys)


@pytest.fixture
def gpt2(tmp_path, capsys):
    folder = tmp_path / "gpt2"
    return made(folder, GPT2, language_modelling(folder), {"eos_token_id": 3}, capsys)


def test_a_run_of_a_checkpoint_is_read_as_any_run_and_written_as_it_was(bert, tmp_path):
    run = open_run(bert, read_data=True)
    assert run.step == 0
    assert read_record(bert)["origin"]["family"] == "bert"
    assert run.evaluation().probabilities(run.params, ["the cat"]).shape == (1, 2)

    assert convert_run(bert, tmp_path / "out") == []
    before, after = (load_pretrained(path) for path in (bert.parent / "model", tmp_path / "out"))
    table = np.asarray(after.params["embedding"]["table"])
    assert np.array_equal(table[6:], np.asarray(before.params["embedding"]["table"]))
    same = jax.tree.map(np.array_equal, {**before.params, "embedding": 0}, {**after.params, "embedding": 0})
    assert jax.tree.all(same)
    assert after.config["id2label"] == {"0": "ask", "1": "tell"}
    assert (after.config["pad_token_id"], after.config["bos_token_id"]) == (0, 1)
    assert not (tmp_path / "out" / "generation_config.json").exists()
    special = json.loads((tmp_path / "out" / "special_tokens_map.json").read_text())
    assert special["cls_token"] == "<begin>"
    batch = next(run.experiment.task.questions(["the cat ?"], 1))
    assert after.tokenizer.encode("the cat ?").ids == batch["source"][0, : batch["source_lengths"][0]].tolist()


def test_programs_of_a_classifier_compute_its_logits_for_any_number_of_texts(bert, tmp_path):
    run = open_run(bert, read_data=False)
    convert_run(bert, tmp_path / "out", to="stablehlo")
    record = json.loads((tmp_path / "out" / "programs.json").read_text())
    assert record["classes"] == ["ask", "tell"]
    assert list(record["programs"]) == ["forward"]
    _, source, _ = record["programs"]["forward"]["inputs"]
    assert source["name"] == "batch.source"
    assert source["axes"] == "B S"
    assert source["shape"][0] == "B"
    length = source["shape"][1] if isinstance(source["shape"][1], int) else 5
    forward, params = program(tmp_path / "out", "forward"), parameters(tmp_path / "out")
    for count in (1, 3):
        batch = {
            "source": np.arange(count * length, dtype=np.int32).reshape(count, length) % 19,
            "source_lengths": np.full(count, length - 1, np.int32),
        }
        expected = run.experiment.model.apply(run.params, batch)["class_logits"]
        np.testing.assert_allclose(forward.call(params, batch)["class_logits"], expected, rtol=0, atol=1e-6)


@pytest.mark.more
def test_lengths_are_symbolic_where_no_annotations_are_checked(bert, gpt2, tmp_path):
    for run, name, shape in ((bert, "batch.source", ["B", "S"]), (gpt2, "batch.target", ["B", "T"])):
        out = tmp_path / name
        command = [sys.executable, "-m", "experiments.convert", f"--workdir={run}", "--to=stablehlo", f"--output={out}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "fixed" not in done.stdout
        programs = json.loads((out / "programs.json").read_text())["programs"]
        shapes = [one["shape"] for one in programs["forward"]["inputs"] if one["name"] == name]
        assert shapes == [shape]
        batch = {name: np.ones((2, 3), np.int32), f"{name}_lengths": np.array([3, 2], np.int32)}
        batch = {key.removeprefix("batch."): value for key, value in batch.items()}
        assert program(out, "forward").call(parameters(out), batch)["hidden"].shape == (2, 3, 6)


def program(folder: Path, name: str) -> jax.export.Exported:
    return jax.export.deserialize(bytearray((folder / f"{name}.stablehlo").read_bytes()))


def parameters(folder: Path) -> dict:
    return nested.nest(load_file(folder / "parameters.safetensors"))


def test_programs_of_a_decoder_start_and_step_as_the_model_does(gpt2, tmp_path):
    run = open_run(gpt2, read_data=False)
    convert_run(gpt2, tmp_path / "out", to="stablehlo")
    record = json.loads((tmp_path / "out" / "programs.json").read_text())
    assert list(record["programs"]) == ["forward", "start", "step"]
    model, params = run.experiment.model, parameters(tmp_path / "out")
    shape = record["programs"]["start"]["inputs"][1]["shape"]
    length = shape[1] if isinstance(shape[1], int) else 3
    target = np.pad(np.array([[1, 11, 12], [1, 13, 0]], np.int32), ((0, 0), (0, length - 3)))
    batch = {"target": target, "target_lengths": np.array([3, 2], np.int32)}
    expected, cache, _ = model.start(run.params, batch, steps=record["steps"])
    out = program(tmp_path / "out", "start").call(params, batch)
    np.testing.assert_allclose(out["logits"], expected, rtol=0, atol=1e-6)
    token = np.array([12, 14], np.int32)
    expected, _, _ = model.step(run.params, token, cache)
    out = program(tmp_path / "out", "step").call(params, token, out["cache"])
    np.testing.assert_allclose(out["logits"], expected, rtol=0, atol=1e-6)
    names = {one["name"] for one in record["programs"]["step"]["inputs"]}
    assert {"params", "token", "cache.remaining"} <= names


def test_a_decoder_is_written_with_the_tokens_and_the_length_of_its_answers(gpt2, tmp_path):
    assert convert_run(gpt2, tmp_path / "out", family="gpt2") == []
    after = load_pretrained(tmp_path / "out")
    assert (after.generation.start, after.generation.end) == (1, (2,))
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation["max_new_tokens"] == open_run(gpt2, read_data=False).experiment.task.max_answer_length
    assert isinstance(after.tokenizer, tokenizers.Tokenizer)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run of one tiny decoder that no family has."""
    folder = tmp_path_factory.mktemp("own")
    make_run(folder / "run", pairs(folder / "pairs.tsv"))
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "one of --to and --from must be given; got neither"),
        (["--to=stablehlo", "--from=x"], "got both"),
        (["--to=onnx", "--output={new}"], "expected one of hugging_face, stablehlo"),
        (["--to=stablehlo"], "--output must be given beside --to. Add --output=OUTPUT."),
        (["--from=x"], "--config must be given beside --from"),
        (["--to=stablehlo", "--output={new}", "--config=dates"], "--config is not read beside --to"),
        (["--to=stablehlo", "--output={new}", "--config.seed=1"], "--config.seed is not read beside --to"),
        (["--from=x", "--config=dates", "--output={new}"], "--output is not read beside --from"),
        (["--to=stablehlo", "--output={new}", "--family=gpt2"], "--family is not read beside --to=stablehlo"),
        (["--to=stablehlo", "--output={folder}"], "is there already"),
        (["--to=stablehlo", "--output={new}", "--checkpoint=7"], "no checkpoint 7"),
        (["--to=hugging_face", "--output={new}"], "no family of Hugging Face has this model; got model."),
        (["--to=hugging_face", "--output={new}", "--family=brt"], "Did you mean 'bert'?"),
        (["--to=hugging_face", "--output={new}", "--family=bert"], "family bert does not have this model"),
        (["--from=gpt2", "--config=dates"], "is there already"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(own, words, expected, capsys):
    names = {"new": own / "new", "folder": own}
    line = fails(convert.main, [f"--workdir={own / 'run'}", *(word.format(**names) for word in words)], capsys)
    assert expected in line
    assert line.count("\n") == 1
    assert sorted(path.name for path in own.iterdir()) == ["pairs.tsv", "run"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--workdir={new}/run", "--to=stablehlo", "--output={new}/out"], "does not exist"),
        (["--workdir={new}", "--from=gpt2", "--config=dates"], "hf download gpt2"),
        (["--workdir={new}", "--from={folder}", "--config=dates"], "--from={folder}: {folder} holds no run"),
    ],
)
def test_a_mistake_leaves_no_directory(own, words, expected, capsys):
    names = {"new": own / "new", "folder": own}
    line = fails(convert.main, [word.format(**names) for word in words], capsys)
    assert expected.format(**names) in line
    assert sorted(path.name for path in own.iterdir()) == ["pairs.tsv", "run"]


def test_a_directory_is_there_in_whole_or_not_at_all(tmp_path):
    def failing(path: Path) -> None:
        with new_directory(path, "output") as beside:
            (beside / "part").write_text("")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    with new_directory(tmp_path / "a" / "b", "output") as beside:
        (beside / "part").write_text("")
        assert not (tmp_path / "a" / "b").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
