"""Files and recipes that cannot be used: one line that names them, exit code 2, and nothing is written."""

from pathlib import Path

import pytest

from experiments import train
from tests.fixtures.commands import fails

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_recipe.py"
TEXT = ["--config.task.name=language_modelling", "--config.data.source=files", "--config.data.path={}/a.txt"]
PAIRS = ["--config.data.source=files", "--config.data.source_path={}/a", "--config.data.target_path={}/b"]
LABELS = ["--config.task.name=classification", "--config.data.source=files", "--config.data.path={}/a.tsv"]

FILES = {
    "missing": ({"b.txt": "x"}, TEXT, ["{}/a.txt", "b.txt"]),
    "empty": ({"a.txt": ""}, TEXT, ["a.txt", "empty"]),
    "undecodable": ({"a.txt": b"one\nt\xffo\n"}, TEXT, ["a.txt", "line 2", "0xff"]),
    "binary": ({"a.txt": b"PK\x03\x04\0\0"}, TEXT, ["a.txt", "zip"]),
    "shorter than a batch": ({"a.txt": "to be or not to be\n" * 99}, TEXT, ["one batch", "task.context"]),
    "objective of another architecture": (
        {"a.txt": "to be\n" * 99},
        [*TEXT, "--config.task.objective=masked"],
        ["seq2seq", "masked", "span or continuation", "encoder_only"],
    ),
    "lines that do not match": ({"a": "x\ny\nz\n", "b": "x\ny\n"}, PAIRS, ["3", "2", "a", "b"]),
    "a line without a tab": ({"a.tsv": "L\tx\nno tab\n"}, LABELS, ["a.tsv", "line 2", "tab"]),
    "label never seen": (
        {"a.tsv": "good\tx y\nbad\tz\n" * 20, "v.tsv": "god\tq\n"},
        [*LABELS, "--config.data.validation_path={}/v.tsv"],
        ["'god'", "'q'", "never seen in training", "Did you mean 'good'"],
    ),
    "one label": ({"a.tsv": "good\tx y\n" * 40}, LABELS, ["one label", "good"]),
    "split left empty": (
        {"a.tsv": "good\tx y\nbad\tz\n" * 20},
        [*LABELS, "--config.data.files.validation_share=0"],
        ["validation", "data.files.validation_share"],
    ),
    "no tokenizer.json": (
        {"a": "x\n" * 30, "b": "y\n" * 30, "t.json": '{"model": 3}'},
        [*PAIRS, "--config.tokenizer.name=file", "--config.tokenizer.path={}/t.json"],
        ["t.json", "tokenizer.json"],
    ),
}


@pytest.mark.parametrize("mistake", FILES)
def test_a_file_that_cannot_be_used_is_named_and_nothing_is_written(mistake, tmp_path, capsys):
    contents, flags, expected = FILES[mistake]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    flags = [flag.format(tmp_path) for flag in flags]
    error = fails(train.main, [f"--config={TINY}", f"--workdir={tmp_path / 'run'}", *flags], capsys)
    for part in expected:
        assert part.format(tmp_path) in error, error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


RECIPES = {
    "missing": (None, "does not exist"),
    "without get_config": ("x = 1\n", "get_config"),
    "broken": ("def get_config(:\n", "line 1"),
    "of another kind": ("def get_config():\n    return 3\n", "ConfigDict"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_is_none_is_named(recipe, tmp_path, capsys):
    text, expected = RECIPES[recipe]
    path = tmp_path / "recipe.py"
    if text is not None:
        path.write_text(text)
    error = fails(train.main, [f"--config={path}", f"--workdir={tmp_path / 'run'}"], capsys)
    assert expected in error
    assert str(path) in error
    assert not (tmp_path / "run").exists()
