"""Mistakes on the command lines: one clear line or two, exit code 2, no traceback, nothing half-written."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import evaluate, explore, generate, settings, train
from experiments.cli.flags import run
from experiments.runs.open_run import open_run
from tests.fixtures.commands import fails, outcome
from tests.fixtures.speeds import core_of

pytestmark = pytest.mark.usefixtures("shapes_once")

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests" / "fixtures" / "tiny_recipe.py"

MISTAKES = {
    "unknown flag": (["--wrkdir=x"], ["unknown flag --wrkdir", "--workdir"]),
    "unknown section": (["--config.modle.width=64"], ["modle", "model.width"]),
    "unknown setting": (["--config.model.num_layer=3"], ["model.num_layer", "model.num_layers"]),
    "wrong type": (["--config.model.width=wide"], ["model.width", "'wide'", "int"]),
    "wrong row": (["--config.model.score=cosin"], ["model.score", "scaled_dot"]),
    "out of range": (["--config.model.dropout=1.5"], ["model.dropout", "1.5", "0.999999"]),
    "width and heads": (["--config.model.width=13"], ["width 13", "num_heads 3", "Try width 15"]),
    "heads and kv heads": (["--config.model.num_kv_heads=2"], ["num_heads 3", "num_kv_heads 2"]),
    "unread": (
        ["--config.model.architecture=decoder_only", "--config.model.num_encoder_layers=2"],
        ["model.num_encoder_layers", "decoder_only", "seq2seq"],
    ),
    "heads without attention": (
        [
            "--config.model.architecture=rnn_seq2seq",
            "--config.model.recurrent.attention=none",
            "--config.model.num_heads=3",
        ],
        ["model.num_heads", "rnn_seq2seq", "recurrent.attention"],
    ),
    "unread by the task": (["--config.task.bidirectional_prefix=true"], ["task.bidirectional_prefix", "decoder_only"]),
    "short table": (
        ["--config.model.position=learned", "--config.model.max_length=7"],
        ["model.max_length = 7", "up to 31 tokens"],
    ),
    "small vocabulary": (["--config.model.vocab_size=9"], ["model.vocab_size", "9", "63 or more"]),
    "parts": (["--config.training.accumulation=3"], ["batch_size 8", "accumulation 3"]),
    "batch too large": (["--config.training.batch_size=600"], ["500 examples", "600"]),
    "locale": (["--config.data.dates.locales=en,xx"], ["xx"]),
    "score that is not there": (["--config.model.score=nowhere.at_all:cosine"], ["nowhere.at_all:cosine"]),
    "years": (["--config.data.dates.first_year=2010"], ["2010"]),
    "seed": (["--config.seed=5000000000"], ["seed", "5000000000", "2^32"]),
    "more tokens than slots": (
        ["--config.model.architecture=encoder_only", "--config.decoding.max_new_tokens=30"],
        ["decoding.max_new_tokens 30", "at most 11"],
    ),
    "more tokens than the table": (
        ["--config.model.position=learned", "--config.model.max_length=40", "--config.decoding.max_new_tokens=60"],
        ["model.max_length", "40", "60 or more"],
    ),
    "score of another shape": (
        ["--config.model.score=tests.fixtures.own_scores:wrong_shape"],
        ["wrong_shape", "B N T S"],
    ),
    "score whose module fails": (["--config.model.score=tests.fixtures.own_scores_broken:f"], ["NameError"]),
    "best metric": (["--config.training.output.best=bleu"], ["bleu", "exact_match"]),
    "unread by the strategy": (["--config.decoding.top_k=3"], ["decoding.top_k", "sampling"]),
    "task that the source has nothing for": (
        ["--config.task.name=language_modelling"],
        ["'dates' does not give text", "source_code", "files"],
    ),
    "path that is not read": (["--config.data.path=x.txt"], ["data.path", "'dates'", "data.source=files"]),
    "tokenizer without its file": (["--config.tokenizer.name=file"], ["tokenizer.path"]),
    "one table for two tokenizers of characters": (["--config.tokenizer.path=x"], ["tokenizer.path", "characters"]),
    "example beyond the limit": (
        ["--config.model.max_length=20"],
        ["of 500 training examples", "model.max_length = 20", "data.too_long=cut"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_what_was_given_and_what_is_allowed(mistake, tmp_path, capsys):
    flags, expected = MISTAKES[mistake]
    workdir = tmp_path / "run"
    error = fails(train.main, [f"--config={TINY}", f"--workdir={workdir}", *flags], capsys)
    for part in expected:
        assert part in error, error
    assert len(error.strip().splitlines()) <= 2
    assert not workdir.exists()


def test_a_setting_of_the_recipe_that_is_not_read_is_left_out_with_a_line(tmp_path):
    recipe = settings.load_recipe(str(TINY))
    recipe.model.cross_attention = False
    config, notes = settings.resolve(recipe, [("model.architecture", "decoder_only")])
    assert config.model.cross_attention
    assert len(notes) == 1
    assert "cross_attention" in notes[0]


def test_heads_of_the_recipe_are_left_out_with_a_line_where_nothing_attends():
    recipe, chosen = settings.load_recipe(str(TINY)), [("model.architecture", "rnn_seq2seq")]
    config, notes = settings.resolve(recipe, chosen)
    assert (config.model.num_heads, notes) == (3, [])
    config, notes = settings.resolve(recipe, [*chosen, ("model.recurrent.attention", "none")])
    assert config.model.num_heads == 4
    (note,) = notes
    assert note.startswith("model.num_heads = 3 of the recipe is left out: architecture 'rnn_seq2seq' with ")
    assert note.endswith("model.recurrent.attention 'none' does not read it.")
    recipe.model.recurrent.attention = "none"
    config, notes = settings.resolve(recipe)  # seq2seq reads the heads, and not what the recurrent model would
    assert config.model.num_heads == 3
    assert [note.partition(" = ")[0] for note in notes] == ["model.recurrent.attention"]


@pytest.mark.parametrize("command", [evaluate, generate, explore])
def test_a_directory_without_a_run_is_named(command, tmp_path, capsys):
    argv = [f"--workdir={tmp_path / 'none'}"] + (["--input=x"] if command is generate else [])
    error = fails(command.main, argv, capsys)
    assert str(tmp_path / "none") in error
    assert "Train first" in error


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of one step with fused kernels, which give no weights: its pictures are drawn all the same."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    flags = ["--config.training.steps=1", "--config.model.kernels=fast", "--config.model.dropout=none"]
    # One stack and no average: no test of this file reads more, and fewer and smaller programs are compiled.
    flags += ["--config.model.architecture=decoder_only", "--config.training.ema_decay=none"]
    flags += ["--config.training.accumulation=1", "--config.data.num_buckets=1"]
    with pytest.raises(SystemExit) as stop:
        run(train.main, [f"--config={TINY}", f"--workdir={workdir}", *flags])
    assert stop.value.code == 0
    assert (workdir / "plots" / "attention.png").stat().st_size > 1000
    return workdir


LOOKING = {
    "an empty text": (generate, ["--input="], "empty"),
    "a text that is far too long": (generate, ["--input=" + "1" * 60_000], "far longer"),
    "an unknown checkpoint": (evaluate, ["--checkpoint=newest"], "best, last or a step"),
    "a checkpoint that is not there": (evaluate, ["--checkpoint=77"], "there are 1"),
    "a layer that is not there": (explore, ["--layer=3"], "0 to 0, or negative"),
    "a picture below a file": (explore, [f"--output={TINY}/x.png"], "is a file"),
    "a picture of another kind": (explore, ["--output=x.svg"], ".png"),
    "two texts": (generate, ["--input=x", "--file=y"], "both given"),
    "a file of texts that is not there": (generate, ["--file=nowhere.txt"], "nowhere.txt"),
    "a temperature for the likeliest": (generate, ["--input=1", "--strategy=greedy", "--top_k=3"], "--top_k"),
    "a temperature of nothing": (generate, ["--input=1", "--temperature=0"], "--temperature is out of range; got 0"),
    "more than all tokens": (
        evaluate,
        ["--top_p=1.5"],
        "--top_p is out of range; got 1.5; expected a number above 0, at most 1",
    ),
    "a constraint that is none": (generate, ["--input=1", "--constraint=(1"], "the constraint '(1' cannot be read"),
    "a constraint that no tokens obey": (generate, ["--input=1", "--constraint=Ж"], "no tokens of the vocabulary make"),
    "a constraint that needs more tokens": (
        generate,
        ["--input=1", r"--constraint=\d{9}", "--max_new_tokens=3"],
        "needs longer answers than may be written; got at most 3 tokens; expected 10 or more. Raise decoding.max_new",
    ),
    "a beam wider than the vocabulary": (
        evaluate,
        ["--width=64"],
        "a beam is wider than the vocabulary; got 64; expected at most 63",
    ),
    "several answers without a file": (generate, ["--input=1", "--num_return=2"], "--num_return is not read without"),
    "several answers of the likeliest": (
        generate,
        ["--input=1", "--num_return=2", "--output=none.jsonl"],
        "--num_return is not read by --strategy=greedy",
    ),
    "a file that is there": (generate, ["--input=1", f"--output={TINY}"], "--output is a file that is there already"),
    "a seed for the likeliest": (generate, ["--input=1", "--seed=3"], "--seed is not read by --strategy=greedy"),
    "a step and an average": (evaluate, ["--checkpoint=1", "--average_last=3"], "Give one of them"),
    "the best and an average": (evaluate, ["--checkpoint=best", "--average_last=3"], "Give one of them"),
    "more tokens than there can be": (evaluate, ["--average_last=0"], "--average_last"),
}


LONGER = ("a picture below a file",)  # which compiles what it would draw


@pytest.mark.parametrize("mistake", core_of(LOOKING, lambda mistake: mistake not in LONGER))
def test_a_mistake_in_looking_at_a_run_is_named(mistake, trained, capsys):
    command, flags, expected = LOOKING[mistake]
    assert expected in fails(command.main, [f"--workdir={trained}", *flags], capsys)


def test_characters_that_training_never_showed_are_named(trained, capsys):
    code, _, error = outcome(generate.main, [f"--workdir={trained}", "--input=12 Ж 2004"], capsys)
    assert code == 0
    assert "Ж" in error


def test_a_tokenizer_that_is_cut_gone_or_of_another_size_is_named(trained, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    stored = (workdir / "tokenizer.json").read_text()
    larger = json.dumps({"name": "characters", "alphabet": "".join(map(chr, range(0x4E00, 0x4F00)))})
    (workdir / "tokenizer.json").write_text(larger)
    error = fails(evaluate.main, [f"--workdir={workdir}"], capsys)
    assert "does not fit the checkpoint; got 262 tokens; expected at most model.vocab_size = 63" in error
    (workdir / "tokenizer.json").write_text('{"name": "chara')
    assert "tokenizer.json: the description of a tokenizer cannot be read" in fails(
        evaluate.main, [f"--workdir={workdir}"], capsys
    )
    (workdir / "tokenizer.json").unlink()
    assert "tokenizer.json" in fails(evaluate.main, [f"--workdir={workdir}"], capsys)
    (workdir / "tokenizer.json").write_text(stored)
    (workdir / "task.json").write_text("[1")
    assert "task.json cannot be read" in fails(generate.main, [f"--workdir={workdir}", "--input=1"], capsys)


def test_workdir_that_is_a_file_or_cannot_be_written(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("mine")
    error = fails(train.main, [f"--config={TINY}", f"--workdir={path}"], capsys)
    assert "not a directory" in error
    assert path.read_text() == "mine"
    error = fails(train.main, [f"--config={TINY}", "--workdir=/proc/nowhere"], capsys)
    assert "/proc/nowhere" in error


def test_a_read_only_directory_is_named(tmp_path, capsys, monkeypatch):
    """With a file system that raises, since permissions do not bind root."""
    real = os.open

    def read_only(path, flags, *args, **kwargs):
        if str(tmp_path) in str(path) and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    error = fails(train.main, [f"--config={TINY}", f"--workdir={tmp_path / 'run'}"], capsys)
    assert "Read-only file system" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.more
def test_a_disk_that_is_full_stops_the_run_with_one_line(tmp_path):
    """By a limit on the size of files, which the system enforces as it does a full disk."""
    command = [sys.executable, "-m", "experiments.train", f"--config={TINY}", f"--workdir={tmp_path / 'run'}"]
    result = subprocess.run(
        ["bash", "-c", f"ulimit -f 60; exec {shlex.join(command)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    error = result.stderr.strip().splitlines()
    assert len(error) <= 2, result.stderr
    assert str(tmp_path / "run") in error[0]
    assert "File too large" in error[0]


def test_a_run_is_not_scored_on_other_data_than_its_own(trained, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    record = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({**record, "data": "abc"}))
    assert "the names or the content of the files have changed" in fails(
        evaluate.main, [f"--workdir={workdir}"], capsys
    )
    assert "the names or the content of the files have changed" in fails(explore.main, [f"--workdir={workdir}"], capsys)
    open_run(str(workdir), read_data=False)
    record.pop("data")  # as runs of earlier versions
    (workdir / "config.json").write_text(json.dumps(record))
    open_run(str(workdir))
    facts = json.loads((workdir / "task.json").read_text())
    (workdir / "task.json").write_text(json.dumps({**facts, "slots": facts["slots"] - 1}))
    assert "slots of task.json has changed" in fails(evaluate.main, [f"--workdir={workdir}"], capsys)
