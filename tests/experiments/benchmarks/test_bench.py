"""The command of benchmarks: its cases, and the mistakes that end it before anything is timed."""

import importlib.util
import itertools
import json
import os
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import bench, settings
from experiments.benchmarks import compile, input, roof, sweep, train, train_turns
from experiments.benchmarks.report import Report
from experiments.benchmarks.roof import Roof
from experiments.storage.workdir import git_state
from experiments.training.experiment import set_up
from experiments.training.loop import batch_size_of
from tests.fixtures.commands import error_of, fails, outcome

TINY = f"--config={Path(__file__).parents[2] / 'fixtures' / 'tiny_recipe.py'}"
QUICK = [
    *("--config.training.accumulation=1", "--config.data.num_buckets=1", "--config.training.ema_decay=none"),
    *("--config.model.architecture=decoder_only", "--config.model.dropout=none"),
]
SMALL = [
    *("--config.model.num_layers=1", "--config.model.width=12", "--config.model.num_heads=3"),
    *("--config.task.context=7", "--config.training.batch_size=2", "--config.model.vocab_size=11"),
]


@pytest.fixture
def low_roof(monkeypatch):
    """A roof that takes no time to measure."""
    monkeypatch.setattr(roof, "roofs", lambda: {name: Roof(1e12, 8) for name in roof.TYPES})


@pytest.fixture
def nothing_is_timed(monkeypatch):
    """A report whose beginning, behind which all is timed, fails."""

    def begin(*_, **__):
        raise AssertionError("timing has begun")

    monkeypatch.setattr(Report, "begin", begin)


def test_an_unknown_case_is_an_error_with_the_nearest_name(capsys):
    assert "Did you mean 'train'?" in fails(bench.main, ["trian", TINY], capsys)
    assert "one of compile, decode, input, sweep, train" in fails(bench.main, ["x"], capsys)


def test_a_command_line_without_a_case_is_that_of_train():
    assert bench.case_of([TINY, "--steps=3"]) == bench.case_of(["train", TINY, "--steps=3"])
    assert bench.case_of([]) == ("train", [])


def test_help_names_every_case_and_each_has_its_own(capsys):
    for words in ([], *([name] for name in bench.CASES)):
        code, out, _ = outcome(bench.main, [*words, "--help"], capsys)
        assert code == 0
        assert "--json" in out
        if words in ([], ["train"]):
            assert all(f"\n  {name} " in out for name in bench.CASES)


@pytest.mark.parametrize("case", bench.CASES)
@pytest.mark.usefixtures("nothing_is_timed")
def test_a_json_path_that_cannot_be_written_is_an_error_before_anything_is_timed(case, tmp_path, capsys):
    words = [case, *([TINY] if case == "input" else [])]
    assert "--json is in no folder that is there" in fails(bench.main, [*words, f"--json={tmp_path}/a/b"], capsys)
    assert "--json is a folder" in fails(bench.main, [*words, f"--json={tmp_path}"], capsys)
    if Path("/proc").is_dir():
        assert "the folder of --json cannot be written" in fails(bench.main, [*words, "--json=/proc/b.json"], capsys)


@pytest.mark.usefixtures("nothing_is_timed")
def test_a_profile_folder_that_cannot_be_written_is_an_error_before_anything_is_timed(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "in", *([Path("/proc/x")] if Path("/proc").is_dir() else [])):
        error = fails(bench.main, ["train", *SMALL, f"--profile={folder}"], capsys)
        assert "the folder of --profile cannot be written" in error
        assert str(folder) in error


@pytest.mark.usefixtures("nothing_is_timed")
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--size=nano_4x182"], "--size"),
        ([TINY, "--size=nano_4x128"], "--size and --config are both given"),
        ([TINY, "--peers"], "--peers and --config are both given"),
        (["--rounds=3"], "--rounds is not read: nothing is timed in turns"),
        ([TINY, "--loop=false", "--rounds=3"], "--rounds is not read: nothing is timed in turns"),
        (["--processes=2"], "--processes is not read without --peers"),
        (["--config.data.path=x"], "data.path is not read with a size"),
        (["--config.model.max_length=9"], "model.max_length is not read with a size"),
        (["--config.model.architecture=encoder_only"], "expected decoder_only"),
        (["--peers", "--config.model.activation=relu"], "model.activation is not known to the model in PyTorch"),
        (["--config.model.width=1000000"], "this run (parameters"),
        (["--config.training.batch_size=2000000000"], "random tokens does not fit in memory"),
    ],
)
def test_flags_that_contradict_each_other_are_errors(words, part, capsys):
    assert part in fails(bench.main, ["train", *words], capsys)


@pytest.mark.usefixtures("low_roof")
def test_a_size_is_timed_profiled_and_written_with_machine_versions_and_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    path, folder = tmp_path / "numbers.json", tmp_path / "new" / "profile"
    argv = ["train", *SMALL, "--config.model.kernels=plain", "--steps=4", f"--json={path}", f"--profile={folder}"]
    argv.append(f"--output={tmp_path / 'numbers.md'}")
    code, out, error = outcome(bench.main, argv, capsys)
    assert code == 0, error
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in out
    assert "OMP_NUM_THREADS=3" in out
    record = json.loads(path.read_text())
    assert record["case"] == "train"
    assert record["command"] == f"python -m experiments.bench {' '.join(argv)}"
    assert record["machine"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert record["versions"]["jax"]
    assert record["git"] == git_state()
    assert record["settings"]["model"]["num_layers"] == 1
    assert record["settings"]["optimizer"]["learning_rate"] == 1e-3
    assert (tmp_path / "numbers.md").read_text().startswith("| case | table | ")
    (row,), fastest = (table["rows"] for table in record["tables"])
    assert row["least"] <= row["ms a step"] <= row["most"]
    assert row["share of the roof"] == pytest.approx(row["GFLOP/s"] / 1e3)
    assert 1e6 < 1e6 * row["peak memory of the process, MB"] < 1e12
    assert [one["GFLOP/s"] for one in fastest] == [1e3, 1e3]
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    assert f"Perfetto: open {trace}" in out
    assert "tensorboard --logdir" in out


@pytest.mark.usefixtures("low_roof")
def test_a_recipe_is_timed_without_the_loop_where_that_is_left_out(capsys):
    code, out, error = outcome(bench.main, [TINY, *QUICK, "--steps=2", "--loop=false"], capsys)
    assert code == 0, error
    assert "bare update" in out
    assert "training loop" not in out


@pytest.mark.more
@pytest.mark.usefixtures("low_roof")
def test_a_recipe_is_timed_in_the_loop(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    argv = [TINY, *QUICK, "--steps=2", "--rounds=1", f"--json={path}"]
    code, _, error = outcome(bench.main, argv, capsys)
    assert code == 0, error
    updates, _, loop = json.loads(path.read_text())["tables"]
    parts = [row["part"] for row in loop["rows"]]
    assert parts == [updates["rows"][0]["program"], "bare update, one queued", "training loop"]


@pytest.mark.more
def test_trials_that_no_number_of_devices_divides_are_timed_as_lanes_and_one_after_another(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    words = ["sweep", "--trials=3", "--steps=2", "--rounds=1", "--processes=0", "--devices=2", f"--json={path}"]
    code, out, error = outcome(bench.main, words, capsys)
    assert code == 0, error
    ((lanes, single),) = (table["rows"] for table in json.loads(path.read_text())["tables"])
    assert (lanes["trials"], single["trials"]) == ("3 lanes of one program", "3 one after another, in a warm process")
    assert single["times as long as lanes"] == pytest.approx(single["seconds"] / lanes["seconds"])
    assert "on 2 x cpu" in out


def test_a_trial_that_fails_in_a_process_of_its_own_is_an_error_with_its_last_lines(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nfor i in 1 2 3 4; do echo line $i; done\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sweep, "sys", SimpleNamespace(executable=str(program)))
    assert "got line 2 line 3 line 4. Leave" in error_of(sweep._train_in_a_process, 2)


@pytest.mark.parametrize(("module", "words"), [(train, ["train", "--peers"]), (compile, ["compile"])])
def test_a_device_is_shared_before_jax_begins_to_use_it(module, words, monkeypatch):
    class Begun(Exception):  # noqa: N818
        pass

    def size_experiment(*_):
        assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        raise Begun

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")  # so that its absence comes back
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    monkeypatch.setattr(module, "size_experiment", size_experiment)
    with pytest.raises(Begun):
        bench.main(words)


def test_the_input_pipeline_is_timed_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(input, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    path = tmp_path / "numbers.json"
    code, out, error = outcome(bench.main, ["input", TINY, "--batches=12", f"--json={path}"], capsys)
    assert code == 0, error
    assert "10 batches" in out  # five equal parts
    ((row,),) = (table["rows"] for table in json.loads(path.read_text())["tables"])
    batches = set_up(settings.resolve(settings.load_recipe(TINY.removeprefix("--config=")))[0]).task.training_batches()
    _, *sizes = [batch_size_of(batch)["tokens"] for batch in itertools.islice(batches, 11)]
    parts = [a + b for a, b in zip(sizes[::2], sizes[1::2], strict=True)]  # of one second each
    assert (row["batches/s"], row["tokens/s"]) == (2, statistics.median(parts))
    assert (row["least, tokens/s"], row["most, tokens/s"]) == (min(parts), max(parts))
    assert 0 < row["padding"] < 1


@pytest.mark.usefixtures("low_roof")
def test_without_torch_this_library_is_timed_alone_and_the_command_that_installs_it_is_printed(capsys, monkeypatch):
    def in_this_process(programs, rounds, **_):
        made = {name: make() for name, make in programs.items()}
        return {name: [program(number) for number in range(rounds + 1)] for name, program in made.items()}

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    monkeypatch.setattr(train_turns, "in_turns", in_this_process)
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, error = outcome(bench.main, ["train", *SMALL, "--peers", "--steps=3", "--rounds=2"], capsys)
    assert code == 0, error
    assert "not installed: torch. Install: pip install 'transformer[peers]'" in out
    assert "4 updates in 2 rounds" in out  # as many as are timed
    assert "this library" in out
    assert "losses differ by" not in out
