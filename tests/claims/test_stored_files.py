"""A stored file is data: however it is damaged, its reader names the file in one line, and it runs no code.

One run, made once, is damaged file by file, with a list of damages; `test_random_damage` draws others.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from experiments import compare, evaluate, explore, generate, settings
from experiments.cli.flags import run
from experiments.comparing.results import read_result
from experiments.data.stored_json import DEEPEST
from experiments.runs.open_run import open_run
from tests.fixtures.stored_run import STEPS, STORED, go_on, make_run, pairs, put_setting, read_small, refused
from transformer import schema
from transformer.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that is whole; tests damage copies."""
    folder = tmp_path_factory.mktemp("whole")
    make_run(folder / "run", pairs(folder / "pairs.tsv"))
    return folder / "run"


@pytest.fixture
def workdir(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def deep(levels: int) -> bytes:
    return b'{"config": ' + b"[" * levels + b"]" * levels + b"}"


DAMAGE = {
    "empty": b"",
    "not UTF-8": b'{"config": "\xff"}',
    "cut": b'{"config": {"model',
    "another type": b"[1, 2]",
    "a number": b"3",
    "null": b"null",
    "deep": b"[" * 100_000,
    "too deep": deep(DEEPEST + 1),
    "digits": b'{"config": ' + b"9" * 5000 + b"}",
    "more than 64 bits": b'{"config": ' + b"9" * 400 + b"}",
    "infinity": b'{"config": Infinity}',
    "infinity by exponent": b'{"config": 1e400}',
    "half a surrogate pair": b'{"\\ud800": {"a": "\\udfff"}}',
    "no key": b'{"a": {}}',
    "text for a section": b'{"config": "x", "classes": "x", "name": 3, "step": "x", "slots": "x"}',
}


@pytest.mark.parametrize("name", STORED)
def test_every_damage_to_a_stored_file_is_one_line_that_names_the_file(workdir, name):
    before = json.loads((workdir / "config.json").read_text())
    rest = (workdir / name).read_bytes() if name == "metrics.jsonl" else b""  # an unfinished last line is none
    for what, content in DAMAGE.items():
        if (what, name) in (("empty", "metrics.jsonl"),):
            continue
        (workdir / name).write_bytes(content + b"\n" + rest)
        first = refused(read_result, str(workdir)) if name == "metrics.jsonl" else refused(read_small, workdir)
        lines = [first, refused(go_on, workdir, before) if name in STORED[::3] else "as above"]
        assert all(lines), what
        assert name in lines[0], (what, lines)
        assert "\n" not in lines[0]
    (workdir / name).unlink()
    (workdir / name).mkdir()
    assert name in refused(read_small, workdir)
    (workdir / name).rmdir()
    os.mkfifo(workdir / name)
    assert name in refused(read_small, workdir)
    (workdir / name).unlink()
    (workdir / name).symlink_to(name)
    assert refused(read_small, workdir)


def test_the_whole_run_is_read(whole):
    assert refused(read_small, whole) is None
    assert open_run(str(whole), read_data=False).step == STEPS[-1]


def test_the_best_checkpoint_is_read_where_it_is_asked_for_though_the_run_averages(workdir):
    put_setting(workdir, "training.average_last", 2)
    put_setting(workdir, "training.output.keep_every", 1)
    averaged, best = (open_run(str(workdir), checkpoint, read_data=False) for checkpoint in (None, "best"))
    assert (averaged.averaged, best.averaged) == (2, 1)
    assert best.step == STEPS[-1]


@pytest.mark.parametrize("inside", ["", "checkpoints", "plots", f"checkpoints/{STEPS[-1]}", "checkpoints/checksums"])
def test_a_file_where_a_folder_should_be_is_a_mistake_in_one_line_or_no_matter(workdir, inside):
    shutil.rmtree(workdir / inside, ignore_errors=True)
    (workdir / inside).write_text("a file")
    line = refused(open_run, str(workdir))
    assert line is None or (str(workdir) in line and "\n" not in line)
    assert (line is None) == (inside in ("plots", f"checkpoints/{STEPS[-1]}", "checkpoints/checksums"))


# Code that stored files name.

DOTTED = [name for name, leaf in schema.settings(settings.Config).items() if leaf.table is not None]


@pytest.fixture
def planted(workdir, monkeypatch) -> str:
    """The path of code of others that leaves a trace when it is imported: a score, beside the run."""
    monkeypatch.syspath_prepend(workdir.parent)
    monkeypatch.delitem(sys.modules, "planted_by_others", raising=False)
    code = "import jax.numpy as jnp\ndef score(q, k):\n    return jnp.einsum('BTNH,BSNH->BNTS', q, k)\n"
    (workdir.parent / "planted_by_others.py").write_text(code)
    yield "planted_by_others:score"
    sys.modules.pop("planted_by_others", None)


def ran() -> bool:
    return "planted_by_others" in sys.modules


@pytest.mark.parametrize("name", DOTTED)
def test_code_that_a_stored_config_names_does_not_run_without_consent(workdir, planted, name, capsys):
    put_setting(workdir, name, planted)
    commands = {
        evaluate: [f"--workdir={workdir}"],
        generate: [f"--workdir={workdir}", "--input=a"],
        explore: [f"--workdir={workdir}", "--input=a"],
    }
    for command, words in commands.items():
        with pytest.raises(SystemExit) as stop:
            run(command.main, words)
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert f"{name} = {planted}" in error
        assert str(workdir / "config.json") in error
        assert "--trust_code" in error
    other = shutil.copytree(workdir, workdir.parent / "other")
    with pytest.raises(SystemExit):
        run(compare.main, [str(workdir), str(other)])
    assert not ran()


def test_code_that_a_stored_config_names_runs_with_consent(workdir, planted):
    put_setting(workdir, "model.score", planted)
    assert open_run(str(workdir), read_data=False, trust_code=True).experiment.config.model.score == planted
    assert ran()


def test_every_setting_that_names_code_is_known_to_ask_for_consent():
    assert {"model.score", "model.attention.mask", "model.attention.score_modifier", "model.recurrent.attention"} <= {
        *DOTTED
    }


def test_the_name_of_a_stored_tokenizer_is_a_row_of_the_table_alone(workdir, planted):
    tokenizer = json.loads((workdir / "tokenizer.json").read_text())
    for name in (planted, "os:system"):
        (workdir / "tokenizer.json").write_text(json.dumps({**tokenizer, "name": name}))
        with pytest.raises(UserError, match=r"tokenizer\.json: unknown tokenizer"):
            open_run(str(workdir), read_data=False, trust_code=True)
    assert not ran()


def test_errors_name_no_path_twice_and_end_with_what_to_do(workdir):
    (workdir / "task.json").write_text("[]")
    line = refused(read_small, workdir)
    assert re.fullmatch(r".*/task\.json cannot be read: it is a list, expected an object\. Delete it, .*\.", line)
