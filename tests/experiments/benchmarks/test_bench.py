"""The command of benchmarks: its cases, and the mistakes that end it before anything is timed."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from experiments import bench
from experiments.benchmarks import roof, train_turns
from experiments.benchmarks.report import Report
from experiments.benchmarks.roof import Roof
from tests.fixtures.commands import fails, outcome

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
    path, folder = tmp_path / "numbers.json", tmp_path / "new" / "profile"
    argv = ["train", *SMALL, "--config.model.kernels=plain", "--steps=4", f"--json={path}", f"--profile={folder}"]
    code, out, error = outcome(bench.main, argv, capsys)
    assert code == 0, error
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in out
    record = json.loads(path.read_text())
    assert record["case"] == "train"
    assert record["command"] == f"python -m experiments.bench {' '.join(argv)}"
    assert record["machine"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert record["versions"]["jax"]
    (row,), fastest = (table["rows"] for table in record["tables"])
    assert row["least"] <= row["ms a step"] <= row["most"]
    assert row["share of the roof"] == pytest.approx(row["GFLOP/s"] / 1e3)
    assert 1e6 < 1e6 * row["peak memory, MB"] < 1e12
    assert [one["GFLOP/s"] for one in fastest] == [1e3, 1e3]
    (trace,) = folder.rglob("perfetto_trace.json.gz")
    assert f"Perfetto: open {trace}" in out
    assert "tensorboard --logdir" in out


@pytest.mark.usefixtures("low_roof")
def test_a_recipe_is_timed_without_the_loop_where_that_is_left_out(capsys):
    code, out, error = outcome(bench.main, [TINY, *QUICK, "--steps=2", "--loop=false"], capsys)
    assert code == 0, error
    assert "update alone" in out
    assert "training loop" not in out


def test_the_input_pipeline_is_timed_alone(tmp_path, capsys):
    path = tmp_path / "numbers.json"
    code, out, error = outcome(bench.main, ["input", TINY, "--batches=12", f"--json={path}"], capsys)
    assert code == 0, error
    assert "10 batches" in out  # five equal parts
    ((row,),) = (table["rows"] for table in json.loads(path.read_text())["tables"])
    assert row["least, tokens/s"] <= row["tokens/s"] <= row["most, tokens/s"]
    assert 0 < row["padding"] < 1
    assert row["tokens/s"] > row["batches/s"]


@pytest.mark.usefixtures("low_roof")
def test_without_torch_this_library_is_timed_alone_and_the_command_that_installs_it_is_printed(capsys, monkeypatch):
    def in_this_process(programs, rounds, *, optional, modules):
        made = {name: make() for name, make in programs.items()}
        return {name: [program(number) for number in range(rounds + 1)] for name, program in made.items()}

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    monkeypatch.setattr(train_turns, "in_turns", in_this_process)
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, error = outcome(bench.main, ["train", *SMALL, "--peers", "--steps=4", "--rounds=2"], capsys)
    assert code == 0, error
    assert "not installed: PyTorch, PyTorch, compiled. Install: pip install 'transformer[peers]'" in out
    assert "this library" in out
    assert "losses differ by" not in out
