"""A stored file is data: however it is damaged, its reader names the file in one line, and it runs no code.

One run, made once, is damaged file by file: every stored file with a list of damages in the core, five hundred random
mutations in test-more, and every file of a checkpoint.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import compare, evaluate, explore, generate, settings
from experiments.cli.flags import explain, run
from experiments.comparing.results import read_result
from experiments.data.stored_json import DEEPEST
from experiments.runs.open_run import open_run
from experiments.runs.run_data import require_run_data
from experiments.runs.stored_config import stored_config
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.metrics import Metrics
from experiments.storage.workdir import open_workdir
from experiments.training.experiment import set_up
from tests.fixtures.stored_run import STEPS, STORED, make_run, pairs, put_setting
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


def read_small(workdir: Path) -> None:
    """Read every stored file but the checkpoints, as the commands do."""
    config, _ = stored_config(workdir)
    data = require_run_data(workdir, config)
    set_up(config, data, read_data=False)
    read_result(str(workdir))


def go_on(workdir: Path, before: dict) -> None:
    """Open the directory as training does to continue."""
    with (
        open_workdir(workdir, before["config"], differences=settings.differences, devices="test", data=before["data"]),
        Metrics(workdir, False) as metrics,
    ):
        metrics.cut_back(1)


def refused(reader, *arguments: object) -> str | None:
    """Return the line with which a reader refuses, None where it accepts; anything else is raised."""
    try:
        reader(*arguments)
    except BaseException as error:
        line = explain(error)
        if line is None:
            raise
        return line
    return None


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


# Random damage.

VALUES = [None, True, 0, -1, 1e300, 10**18, "", "x", "os:system", "../../x", "\x00", [], {}, [[]], {"a": {}}, "\ud800"]
VALUES += [2**40, 0.5, [1, 2], "none", 2**62, -1e300]


def mutated(value, rng: random.Random):
    """Change one place of a JSON value: a key goes or comes, or a part becomes another value."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        draw = rng.random()
        if draw < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if draw < 0.25:
            return {**value, rng.choice(["x", "", "__class__", key + "_"]): rng.choice(VALUES)}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        i = rng.randrange(len(value))
        return [*value[:i], mutated(value[i], rng), *value[i + 1 :]]
    return rng.choice(VALUES)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change bytes: some are others, some go, some come, or the rest is lost."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        i, draw = rng.randrange(len(content) or 1), rng.random()
        if draw < 0.4:
            content[i : i + 1] = bytes([rng.randrange(256)])
        elif draw < 0.6:
            del content[i : i + rng.randint(1, 10)]
        elif draw < 0.9:
            content[i:i] = rng.randbytes(rng.randint(1, 6))
        else:
            del content[i:]
    return bytes(content)


class TooSlowError(Exception):
    """Error for a reader that takes too long."""


@pytest.mark.more
def test_five_hundred_mutations_of_stored_files_are_read_or_refused_in_one_line(whole, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # of this run, for a failure
    rng, accepted = random.Random(seed), 0
    before = json.loads((whole / "config.json").read_text())

    def too_slow(*_):
        raise TooSlowError

    old = signal.signal(signal.SIGALRM, too_slow)
    try:
        for number in range(500):
            workdir = tmp_path / "run"
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(whole, workdir)
            name = rng.choice(STORED)
            data = (whole / name).read_bytes()
            if rng.random() < 0.6:
                texts = data.decode().splitlines() if name == "metrics.jsonl" else [data.decode()]
                at = rng.randrange(len(texts))
                texts[at] = json.dumps(mutated(json.loads(texts[at]), rng))
                data = "\n".join(texts).encode()
            else:
                data = damaged(data, rng)
            (workdir / name).write_bytes(data)
            case = f"seed {seed}, case {number}, {name}: {ascii(data)[:500]}"
            signal.setitimer(signal.ITIMER_REAL, 10)
            try:
                readers = [(go_on, workdir, before), (read_small, workdir)]
                readers += [(open_run, str(workdir))] if number % 5 == 0 else []
                for reader, *arguments in readers:
                    line = refused(reader, *arguments)
                    accepted += line is None
                    assert line is None or (line.count("\n") < 10 and len(line) <= 2000), (case, line)
            except TooSlowError:
                pytest.fail(f"more than 10 s: {case}")
            except BaseException as error:
                raise AssertionError(case) from error
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert 50 < accepted < 1000, f"seed {seed}"


# Damage to every file of a checkpoint.


def bits(found) -> tuple[list[bytes], str]:
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(found.state)], json.dumps(found.extra, sort_keys=True)


def harm(path: Path, how: str, files: list[Path], rng: random.Random) -> bool:
    """Damage a file; return False where this way would leave it as it is."""
    data = path.read_bytes()
    if how == "emptied":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "one byte less":
        path.write_bytes(data[:-1])
    elif how == "a bit flipped":
        content = bytearray(data)
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif how == "swapped":
        other = rng.choice([file for file in files if file != path])
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
        return path.read_bytes() != data
    elif how == "zeros":
        path.write_bytes(bytes(len(data)))
    elif how == "deep":
        path.write_bytes(b"[" * 100_000)
    elif how == "a list":
        path.write_bytes(b"[]")
    else:
        path.unlink()
        path.mkdir() if how == "a folder" else path.symlink_to("/nonexistent/x") if how == "unreadable" else None
    return not path.is_file() or path.read_bytes() != data


WAYS = ["emptied", "cut", "one byte less", "a bit flipped", "swapped", "zeros", "deep", "a list", "gone", "a folder"]
WAYS += ["unreadable"]


@pytest.mark.more
@pytest.mark.parametrize("sums", ["within and beside", "within", "beside", "none"])
def test_damage_to_any_file_of_a_checkpoint_is_found_and_the_step_before_is_used(whole, tmp_path, sums):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # of this run, for a failure
    rng = random.Random(seed)
    config, _ = stored_config(whole)
    experiment = set_up(config, require_run_data(whole), read_data=False)
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    first, newest = STEPS
    start = shutil.copytree(whole / "checkpoints", tmp_path / "start")
    with Checkpoints(start, 2, config.training.output.best, read_only=True) as saved:
        truth = {step: bits(saved.restore(example, step)) for step in STEPS}
    if sums not in ("within and beside", "within"):
        for step in STEPS:
            (start / str(step) / "checksums.json").unlink()
    if sums not in ("within and beside", "beside"):
        shutil.rmtree(start / "checksums")
    names = sorted(p.relative_to(start) for p in (start / str(newest)).rglob("*") if p.is_file())
    names += [Path("checksums") / f"{newest}.json"] if (start / "checksums").exists() else []
    tried = 0
    for name in names:
        for how in WAYS:
            directory, lines = tmp_path / "checkpoints", []
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(start, directory)
            files = sorted(p for p in (directory / str(newest)).rglob("*") if p.is_file())
            if not harm(directory / name, how, files, rng):
                continue
            tried += 1
            case = f"seed {seed}, {name}, {how}: {lines}"
            with Checkpoints(directory, 2, config.training.output.best, print_line=lines.append) as saved:
                found = saved.restore(example)
            assert not any("has no checksums" in line for line in lines), case  # the record holds sums of the arrays
            if found.step == first:
                assert any(line.startswith(f"checkpoint {newest} is damaged (") for line in lines), case
                assert bits(found) == truth[first], case
            else:  # a file of sums is gone, or, without any, a file is damaged that the arrays do not need
                assert bits(found) == truth[newest], case
                assert sums == "none" or ("checksums" in str(name) and how == "gone"), case
    assert tried > 50


def test_errors_name_no_path_twice_and_end_with_what_to_do(workdir):
    (workdir / "task.json").write_text("[]")
    line = refused(read_small, workdir)
    assert re.fullmatch(r".*/task\.json cannot be read: it is a list, expected an object\. Delete it, .*\.", line)
