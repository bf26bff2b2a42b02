"""Claims about working directories: one run, one config, nothing half-written."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from experiments.storage.workdir import PACKAGES, Start, git_state, open_workdir, read_record, write_text_atomically
from experiments.storage.workdir_checks import refuse_other_metadata
from transformer.errors import UserError

CONFIG = {"model": {"width": 128, "dtype": "float32"}, "seed": 0, "training": {"log_every": 50}}


def differences(old: dict, new: dict) -> list[tuple]:
    """Settings of which log_every alone changes no result."""
    leaves = (("model", "width"), ("model", "dtype"), ("training", "log_every"), ("training", "steps"))
    pairs = [
        (f"{section}.{name}", old[section].get(name), new[section].get(name), name != "log_every")
        for section, name in leaves
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def open_at(path: Path, config: dict = CONFIG, devices: str = "cpu: 1 device"):
    return open_workdir(path, config, differences=differences, devices=devices)


def with_setting(section: str, name: str, value) -> dict:
    return {**CONFIG, section: {**CONFIG[section], name: value}}


def test_the_config_is_stored_with_what_made_the_results(tmp_path):
    with open_at(tmp_path / "a" / "run") as workdir:
        assert not workdir.resumed
        record = json.loads((workdir.path / "config.json").read_text())
    assert record["config"] == CONFIG == read_record(tmp_path / "a" / "run")["config"]
    assert set(record["versions"]) == {"python", "transformer", "XLA_FLAGS", *PACKAGES}
    assert record["versions"]["XLA_FLAGS"] == os.environ.get("XLA_FLAGS", "")
    assert record["devices"] == "cpu: 1 device"
    assert record["git"] == git_state()
    assert not record["earlier_starts"]


def test_the_git_state_is_the_commit_and_whether_anything_was_changed(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(
        "experiments.storage.workdir.__file__", str(tmp_path / "experiments" / "storage" / "workdir.py")
    )
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    git("init")
    (tmp_path / "pyproject.toml").write_text("one")
    git("add", "pyproject.toml")
    git("commit", "-m", "one")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "clean": True}
    (tmp_path / "pyproject.toml").write_text("two")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "clean": False}
    (tmp_path / "pyproject.toml").rename(tmp_path / "other")
    assert git_state() is None, "an installed package in a repository of the user's"
    (tmp_path / "other").rename(tmp_path / "pyproject.toml")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() is None


def test_the_same_config_continues_and_settings_without_effect_may_differ(tmp_path):
    open_at(tmp_path).close()
    with open_at(tmp_path, with_setting("training", "log_every", 7), devices="gpu: 8 devices") as workdir:
        assert workdir.resumed
    assert read_record(tmp_path)["config"]["training"]["log_every"] == 7
    record = json.loads((tmp_path / "config.json").read_text())
    assert [start["devices"] for start in (*record["earlier_starts"], record)] == ["cpu: 1 device", "gpu: 8 devices"]


def test_other_flags_of_xla_are_recorded_and_a_line_names_them(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    with open_at(tmp_path) as workdir:
        assert workdir.notes() == []
    for flags, note in {
        "--a=1 --b=2": "none -> --a=1 --b=2",
        "--b=2  --a=1": None,
        "--a=": "--b=2  --a=1 -> --a=",
    }.items():
        monkeypatch.setenv("XLA_FLAGS", flags)
        with open_at(tmp_path) as workdir:
            expected = f"note: XLA_FLAGS have changed since the latest start, so bits may differ: {note}"
            assert workdir.notes() == ([] if note is None else [expected])
    starts = [*read_record(tmp_path)["earlier_starts"], read_record(tmp_path)]
    assert [start["versions"]["XLA_FLAGS"] for start in starts] == ["", "--a=1 --b=2", "--b=2  --a=1", "--a="]


def test_a_run_of_before_the_flags_were_stored_counts_as_one_without(tmp_path, monkeypatch):
    open_at(tmp_path).close()
    record = json.loads((tmp_path / "config.json").read_text())
    del record["versions"]["XLA_FLAGS"]
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    for versions in (record["versions"], None):
        (tmp_path / "config.json").write_text(json.dumps(record | {"versions": versions}))
        with open_at(tmp_path) as workdir:
            assert workdir.changed_flags == ("", "--a=1")


def test_another_config_is_refused_with_each_setting_and_changes_nothing(tmp_path):
    open_at(tmp_path).close()
    before = (tmp_path / "config.json").read_text()
    other = {**CONFIG, "model": {"width": 256, "dtype": "bfloat16"}, "training": {"log_every": 7}}
    with pytest.raises(UserError) as error:
        open_at(tmp_path, other)
    lines = str(error.value).splitlines()
    assert lines[1:3] == ["  model.width: 128 -> 256", "  model.dtype: 'float32' -> 'bfloat16'"]
    assert "Choose another --workdir" in lines[3]
    assert len(lines) == 4
    assert (tmp_path / "config.json").read_text() == before
    open_at(tmp_path).close()  # the refused one let go of the lock


def test_steps_may_change_where_the_run_is_extended_and_each_change_is_recorded(tmp_path):
    def opened(steps: int, extend=None, **settings) -> dict:
        config = {**CONFIG, "training": {"steps": steps}, **settings}
        open_workdir(tmp_path, config, differences=differences, devices="cpu", start=Start(extend)).close()
        return read_record(tmp_path)

    def extend(changes: dict) -> dict:
        assert read_record(tmp_path)["config"]["training"]["steps"] == changes["training.steps"][0]  # not yet written
        return {"to": changes["training.steps"][1]}

    assert "extensions" not in opened(10, extend)
    with pytest.raises(UserError, match=r"training\.steps: 10 -> 20"):
        opened(20)
    with pytest.raises(UserError, match=r"model\.width: 128 -> 256") as error:
        opened(20, extend, model={"width": 256, "dtype": "float32"})
    assert "training.steps" not in str(error.value)
    assert "extensions" not in read_record(tmp_path)
    assert opened(20, extend)["extensions"] == [{"to": 20}]
    assert opened(20, extend)["extensions"] == [{"to": 20}]
    longest = opened(30, extend)
    assert longest["extensions"] == [{"to": 20}, {"to": 30}]
    assert longest["config"]["training"]["steps"] == 30


def test_the_origin_of_a_run_stays_recorded(tmp_path):
    for origin in ({"workdir": "runs/a"}, None):
        open_workdir(tmp_path, CONFIG, differences=differences, devices="cpu", start=Start(origin=origin)).close()
        assert read_record(tmp_path)["origin"] == {"workdir": "runs/a"}


def test_a_second_run_is_refused_by_the_process_of_the_first_until_that_ends(tmp_path):
    script = "import sys; from tests.experiments.storage.test_workdir import open_at, Path\n"
    script += "open_at(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"open\n"
        with pytest.raises(UserError, match=rf"another run \(process {first.pid}\) is writing to --workdir {tmp_path}"):
            open_at(tmp_path)
        assert (tmp_path / "lock").exists()
        first.kill()
    with open_at(tmp_path) as workdir:
        assert workdir.resumed
        with pytest.raises(UserError, match=str(os.getpid())):
            open_at(tmp_path)


def test_a_path_that_cannot_be_a_directory_is_refused_by_name(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match=rf"--workdir {file} is not a directory"):
        open_at(file)
    with pytest.raises(UserError, match=rf"--workdir {file / 'below'} cannot be written: Not a directory"):
        open_at(file / "below")
    assert file.read_text() == "mine"


@pytest.fixture
def read_only():
    """A directory that this process may read and not write; nothing is read-only for root, so root steps down."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.rmdir()


def test_a_read_only_directory_is_refused_by_name(read_only):
    with pytest.raises(UserError, match=f"--workdir {read_only / 'run'} cannot be written: Permission denied"):
        open_at(read_only / "run")


@pytest.fixture
def full_disk():
    """No byte can be written to a file; the limit holds for every user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, old)


def test_on_a_full_disk_nothing_is_left_behind(tmp_path, full_disk):
    with pytest.raises(UserError, match=rf"--workdir {tmp_path / 'a' / 'run'} cannot be written"):
        open_at(tmp_path / "a" / "run")
    assert not list(tmp_path.iterdir())


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path, full_disk):
    path = tmp_path / "text"
    path.touch()
    with pytest.raises(OSError, match="File too large") as error:
        write_text_atomically(path, "new")
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_of_reading_the_config_of_no_run_names_what_to_do(tmp_path):
    with pytest.raises(
        UserError, match=r"absent does not exist; expected .*\. Train first: python -m experiments.train"
    ):
        read_record(tmp_path / "absent")
    with pytest.raises(UserError, match=r"holds no config.json"):
        read_record(tmp_path)
    for text in ("", "{", "[]", '{"config": 3}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config.json cannot be read"):
            read_record(tmp_path)


def test_a_sweep_or_a_folder_of_a_run_is_named_where_a_run_is_read(tmp_path):
    open_at(tmp_path / "run").close()
    (tmp_path / "run" / "plots").mkdir()
    with pytest.raises(UserError, match=rf"plots is a folder of the run .*Name it: --workdir={tmp_path}/run$"):
        read_record(tmp_path / "run" / "plots")
    sweep = tmp_path / "sweep"
    for folder in ("lanes", "trials"):
        (sweep / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds a sweep; .*Wait for its first trials to end\."):
        read_record(sweep)
    for trial in ("0000-seed0", "0001-seed0"):
        open_at(sweep / "trials" / trial).close()
    (sweep / "trials" / "0001-seed0" / "checkpoints").mkdir()  # those of the best trial are kept
    with pytest.raises(UserError, match=rf"its runs are {sweep}/trials/\*; .*--workdir={sweep}/trials/0001-seed0$"):
        read_record(sweep)


def test_a_run_in_the_directory_of_a_sweep_is_refused_and_its_trials_are_not(tmp_path):
    for folder in ("lanes", "trials"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=rf"--workdir {tmp_path} holds a sweep; .*Choose another --workdir\."):
        open_at(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lanes", "trials"]
    for trial in ("trials/0000-seed0", "finished/0000-seed0"):
        open_at(tmp_path / trial).close()


def test_facts_that_have_changed_are_refused_by_name(tmp_path):
    before = {"slots": 3, "longest_source": 11, "whole": [12, 3]}
    refuse_other_metadata(tmp_path, before, {**before})
    with pytest.raises(
        UserError, match=r"other data: slots, whole of task.json have changed; got 4; \[12, 4\]; expected 3;"
    ):
        refuse_other_metadata(tmp_path, before, {**before, "slots": 4, "whole": [12, 4]})
    with pytest.raises(UserError, match=r"classes of task.json"):
        refuse_other_metadata(tmp_path, {}, {"classes": ["a", "b"]})
