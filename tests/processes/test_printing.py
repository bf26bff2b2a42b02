"""Printed text is the data: every command prints texts, labels, paths and settings as they are.

Data that a terminal or a library might take for something else are given to every command, and its output is compared
with them, under encodings that have all of their characters and under some that lack a few: those alone are escaped.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import bench, compare, evaluate, explore, generate, plan, sweep, train
from experiments.cli.flags import run
from tests.fixtures.processes import no_pictures

pytestmark = pytest.mark.usefixtures("shapes_once")

TINY = Path(__file__).parents[1] / "fixtures" / "tiny_recipe.py"
LABELS = ["[red]", ":smile:", "  год", "1:100:3 ratio"]
TEXTS = [
    "[bold red]x[/bold red] :smile: [/]",
    "ratio 1:100:3 at https://a.example/?q=[x]&b=%20#:100:",
    "  leading, trailing and  double spaces  ",
    "日本語のテスト, год, naïve, \u202f\u00a0, é",
    f"a line of more than 80 columns: {'wide words ' * 12}and its end",
    "\x1b[31m $x_1^2$ \\n ${HOME} {task.completed} %s",
]
FOLDER = "run :red: $x_1$ 1:100:3 é"
"""Name of the folder in which all files lie."""

ENCODINGS = ["ascii", pytest.param("latin-1", marks=pytest.mark.more), pytest.param("utf-8", marks=pytest.mark.more)]


def printed(main, argv: list[str], encoding: str, patch: pytest.MonkeyPatch) -> list[str]:
    """Run a command whose outputs have an encoding; return the lines of standard output."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2))
    with patch.context() as streams:
        streams.setattr(sys, "stdout", out)
        streams.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as stop:
            run(main, argv)
    for stream in (out, err):
        stream.flush()
    assert stop.value.code == 0, err.buffer.getvalue()
    return out.buffer.getvalue().decode(encoding).split("\n")


def escaped(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the data, and train a classifier on them; the lines that training printed are in a file."""
    folder = tmp_path_factory.mktemp("printing") / FOLDER
    folder.mkdir()
    rows = "".join(f"{LABELS[i % 4]}\t{text}\n" for i, text in enumerate(TEXTS * 12))
    (folder / "data [b]:x:.tsv").write_text(rows, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        lines = printed(train.main, [*flags_of(folder), f"--workdir={folder / 'trained'}"], "utf-8", patch)
    (folder / "lines").write_text("\n".join(lines), encoding="utf-8")
    return folder


def flags_of(folder: Path) -> list[str]:
    common = ["task.name=classification", "data.source=files", f"data.path={folder / 'data [b]:x:.tsv'}"]
    sizes = ["model.architecture=encoder_only", "training.steps=2", "training.accumulation=1", "data.num_buckets=1"]
    return [f"--config={TINY}", *(f"--config.{flag}" for flag in [*common, *sizes])]


def test_training_names_its_files_as_they_are(folder):
    lines = (folder / "lines").read_text(encoding="utf-8").split("\n")
    assert "data [b]:x:.tsv: 72 examples, 4 labels" in lines
    assert f"curves       {folder / 'trained' / 'plots' / 'curves.png'}" in lines
    assert any(line.endswith(f"experiments.evaluate '--workdir={folder / 'trained'}'") for line in lines)
    assert next(i for i, line in enumerate(lines) if "label accuracy" in line.replace("_", " ")) < lines.index(
        f"curves       {folder / 'trained' / 'plots' / 'curves.png'}"
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_prints_the_data_as_they_are(encoding, folder, monkeypatch):
    workdir = f"--workdir={folder / 'trained'}"
    labels = "|".join(re.escape(escaped(label, encoding)) for label in LABELS)

    lines = printed(evaluate.main, [workdir, "--mistakes=99", "--split=train"], encoding, monkeypatch)
    mistakes = [line for line in lines if ": predicted " in line and ", label " in line]
    known = "|".join(re.escape(escaped(repr(text), encoding)) for text in TEXTS)
    assert len(mistakes) > 9
    assert all(re.fullmatch(f"  ({known}): predicted ({labels}), label ({labels})", line) for line in mistakes), (
        mistakes
    )
    confusions = [line for line in lines if " predicted as " in line]
    assert confusions
    assert all(re.fullmatch(rf"  ({labels}) predicted as ({labels}): \d+ of \d+", line) for line in confusions)
    assert escaped(f"picture: {folder / 'trained' / 'plots' / 'confusion_train.png'}", encoding) in lines

    (folder / "texts").write_text("\n".join([*TEXTS[:2], "", *TEXTS[2:]]), encoding="utf-8")
    lines = printed(generate.main, [workdir, f"--file={folder / 'texts'}"], encoding, monkeypatch)
    assert [bool(line) for line in lines] == [True] * 2 + [False] + [True] * 4 + [False]
    assert all(re.fullmatch(rf"(({labels}) \d+\.\d%(, )?){{3}}", line) for line in lines if line)

    for text in TEXTS if encoding != "ascii" else TEXTS[3:4]:
        lines = printed(explore.main, [workdir, f"--input={text}"], encoding, monkeypatch)
        assert re.fullmatch(rf"{re.escape(escaped(text, encoding))} -> (({labels}) \d+\.\d%(, )?){{3}}", lines[0])
        assert lines[1] == escaped(f"picture: {folder / 'trained' / 'plots' / 'explore.png'}", encoding)

    again = folder / f"again [b] {encoding}"
    shutil.copytree(folder / "trained", again)
    lines = printed(compare.main, [str(folder / "trained"), str(again)], encoding, monkeypatch)
    assert any("trained" in line and "again [b]" in line for line in lines)


@pytest.mark.more
def test_the_commands_that_plan_print_the_data_as_they_are(folder, monkeypatch):
    encoding = "ascii"
    note = escaped("data [b]:x:.tsv: 72 examples, 4 labels", encoding)
    assert printed(plan.main, flags_of(folder), encoding, monkeypatch)
    assert printed(bench.main, ["input", *flags_of(folder), "--batches=5"], encoding, monkeypatch)
    workdir = folder / f"sweep {encoding}"
    argv = [*flags_of(folder), f"--workdir={workdir}", "--sweep.optimizer.learning_rate=1e-3,1e-2"]
    lines = printed(sweep.main, argv, encoding, monkeypatch)
    assert escaped(f"results   {workdir / 'results.jsonl'}", encoding) in lines
    assert (
        printed(train.main, [*flags_of(folder), f"--workdir={folder / 'again'}"], encoding, monkeypatch).count(note)
        == 1
    )


TEXT_FLAGS = ["task.name=language_modelling", "task.context=16", "tokenizer.name=bytes", "data.source=files"]


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """Train a language model on the texts; return its working directory."""
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "text.txt").write_text("\n".join(TEXTS * 9), encoding="utf-8")
    flags = [*TEXT_FLAGS, f"data.path={folder / 'text.txt'}", "model.architecture=decoder_only"]
    flags += ["training.steps=1", "training.accumulation=1", "training.output.tensorboard=false"]
    argv = [f"--config={TINY}", *(f"--config.{flag}" for flag in flags), f"--workdir={folder / 'run'}"]
    with pytest.MonkeyPatch.context() as patch, no_pictures():
        printed(train.main, argv, "utf-8", patch)
    return folder / "run"


@pytest.mark.more
@pytest.mark.parametrize("setting", ["PYTHONIOENCODING=ascii", "LC_ALL=C"])
def test_a_process_prints_a_prompt_and_its_answer_whatever_its_encoding(setting, prompted):
    name, _, value = setting.partition("=")
    command = [sys.executable, "-m", "experiments.generate", f"--workdir={prompted}", "--max_new_tokens=2"]
    environment = {**os.environ, name: value}
    done = subprocess.run(command, input="\n".join(TEXTS).encode(), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split(b"\n")
    assert len(lines) >= len(TEXTS)
    ascii_only = [text for text in TEXTS if text.isascii()]
    assert all(any(line.startswith(text.encode()) for line in lines) for text in ascii_only)
    assert any(b"na" in line and b"ve" in line for line in lines)
