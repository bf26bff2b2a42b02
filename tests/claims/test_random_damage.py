"""Stored files that are damaged at random: read or refused in one line, and the step before is used."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.runs.open_run import open_run
from experiments.runs.run_data import require_run_data
from experiments.runs.stored_config import stored_config
from experiments.storage import checkpoint_format
from experiments.storage.checkpoints import Checkpoints
from experiments.training.experiment import set_up
from tests.fixtures.stored_run import STEPS, STORED, go_on, make_run, pairs, read_small, refused

pytestmark = pytest.mark.usefixtures("shapes_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that is whole; tests damage copies."""
    folder = tmp_path_factory.mktemp("whole")
    make_run(folder / "run", pairs(folder / "pairs.tsv"), bias=False)  # fewer arrays to read again and again
    return folder / "run"


@pytest.fixture(scope="module")
def few_arrays(tmp_path_factory) -> Path:
    """The folder of a run with fewer arrays still, which is restored again and again."""
    folder = tmp_path_factory.mktemp("few_arrays")
    make_run(folder / "run", pairs(folder / "pairs.tsv"), optimizer="sgd", bias=False)
    return folder / "run"


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
def test_five_hundred_mutations_of_stored_files_are_read_or_refused_in_one_line(whole, tmp_path, seed):
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


@pytest.fixture
def reads_end_once(monkeypatch):
    """Wait once, when a test ends, for the reads under way, and not after each damage that is found."""
    with checkpoint_format._reads_under_way_are_silent():
        late = checkpoint_format.LATE
        monkeypatch.setattr(checkpoint_format, "LATE", 0)
        yield
        time.sleep(late)


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


def renew(directory: Path, start: Path, kept: str) -> None:
    """Put everything in a directory back as it is in another, but for the folder that no test damages."""
    for path in directory.iterdir():
        if path.name != kept:
            shutil.rmtree(path)
    for path in start.iterdir():
        if path.name != kept:
            shutil.copytree(path, directory / path.name)


WAYS = ["emptied", "cut", "one byte less", "a bit flipped", "swapped", "zeros", "deep", "a list", "gone", "a folder"]
WAYS += ["unreadable"]


@pytest.mark.more
@pytest.mark.usefixtures("reads_end_once")
@pytest.mark.parametrize("sums", ["within and beside", "within", "beside", "none"])
def test_damage_to_any_file_of_a_checkpoint_is_found_and_the_step_before_is_used(few_arrays, tmp_path, sums, seed):
    rng = random.Random(seed)
    config, _ = stored_config(few_arrays)
    experiment = set_up(config, require_run_data(few_arrays), read_data=False)
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    first, newest = STEPS
    start = shutil.copytree(few_arrays / "checkpoints", tmp_path / "start")
    with Checkpoints(start, 2, config.training.output.best, read_only=True) as saved:
        truth = {step: bits(saved.restore(example, step)) for step in STEPS}
    if sums not in ("within and beside", "within"):
        for step in STEPS:
            (start / str(step) / "checksums.json").unlink()
    if sums not in ("within and beside", "beside"):
        shutil.rmtree(start / "checksums")
    names = sorted(p.relative_to(start) for p in (start / str(newest)).rglob("*") if p.is_file())
    names += [Path("checksums") / f"{newest}.json"] if (start / "checksums").exists() else []
    directory, tried = tmp_path / "checkpoints", 0
    shutil.copytree(start, directory)
    for name in names:
        for how in WAYS:
            lines = []
            renew(directory, start, str(first))
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
