"""Claims about the output of a run: metrics.jsonl, event files, and the terminal."""

import contextlib
import io
import json
import math
import resource
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from experiments.storage.metrics import Metrics, read
from experiments.storage.run_facts import RunFacts
from experiments.storage.trackers import Trackers
from experiments.training.progress import duration, print_next, print_paths, progress
from experiments.training.tables import final_table
from transformer.errors import UserError


def events_of(workdir: Path) -> list[tuple]:
    """(tag, step, value) of each scalar in the event files, in order; records are length, CRC, bytes, CRC."""
    found = []
    for path in sorted((workdir / "tensorboard").glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            content = content[16 + length :]
    return found


def without_seconds(lines: list[dict]) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def metrics_of(workdir: Path, *trackers: str) -> Metrics:
    return Metrics(workdir, Trackers(trackers, RunFacts(workdir, {})))


def write_run(workdir: Path, steps: range) -> None:
    with metrics_of(workdir, "tensorboard") as metrics:
        for step in steps:
            metrics.write(step, "train", {"loss": 1.0 / step, "tokens": 10 * step})
            if step % 3 == 0:
                metrics.write(step, "validation", {"loss": 2.0 / step, "exact_match": 0.25})


def test_a_line_is_one_object_with_step_split_metrics_and_seconds(tmp_path):
    write_run(tmp_path, range(1, 4))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert without_seconds(lines)[2:] == [
        {"step": 3, "split": "train", "loss": 1 / 3, "tokens": 30},
        {"step": 3, "split": "validation", "loss": 2 / 3, "exact_match": 0.25},
    ]
    assert all(line["seconds"] >= 0 for line in lines)
    assert lines == read(tmp_path)


def test_the_event_files_hold_the_same_numbers(tmp_path):
    write_run(tmp_path, range(3, 4))
    assert events_of(tmp_path) == [
        ("loss/train", 3, pytest.approx(1 / 3)),
        ("tokens/train", 3, 30.0),
        ("loss/validation", 3, pytest.approx(2 / 3)),
        ("exact_match/validation", 3, 0.25),
    ]


def test_without_tensorboard_there_are_no_event_files(tmp_path):
    with Metrics(tmp_path) as metrics:
        metrics.write(1, "train", {"loss": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@given(value=st.floats() | st.integers(-(2**60), 2**60))
def test_every_number_comes_back_and_every_line_is_valid_json(tmp_path_factory, value):
    workdir = tmp_path_factory.mktemp("metrics")
    Metrics(workdir).write(1, "nan", {"loss": value})
    line = (workdir / "metrics.jsonl").read_text()
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (found,) = read(workdir)
    assert found["split"] == "nan"
    assert type(found["loss"]) is type(value)
    same = math.isnan(found["loss"]) if math.isnan(value) else (found["loss"], math.copysign(1, found["loss"]))
    assert same == (True if math.isnan(value) else (value, math.copysign(1, value)))


@pytest.mark.parametrize("end", ["", '{"step": 4, "spl', '{"step": 4}'])
def test_cut_back_and_written_again_is_as_if_never_stopped(tmp_path, end):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    write_run(tmp_path / "whole", range(1, 11))
    write_run(tmp_path / "stopped", range(1, 9))
    for path in (tmp_path / "stopped" / "tensorboard").iterdir():  # as if an hour ago
        path.rename(path.with_name("events.out.tfevents.1.host"))
    with open(tmp_path / "stopped" / "metrics.jsonl", "a") as file:
        file.write(end)
    with metrics_of(tmp_path / "stopped", "tensorboard") as metrics:
        assert metrics.cut_back(4) == 5 + bool(end)
        assert [line["step"] for line in read(tmp_path / "stopped")] == [1, 2, 3, 3, 4]
        assert {event[1] for event in events_of(tmp_path / "stopped")} == {1, 2, 3, 4}
    write_run(tmp_path / "stopped", range(5, 11))
    assert without_seconds(read(tmp_path / "stopped")) == without_seconds(read(tmp_path / "whole"))
    assert events_of(tmp_path / "stopped")[-6:] == events_of(tmp_path / "whole")[-6:]


def test_cut_back_keeps_numbers_that_are_not_finite_and_lines_of_the_step_itself(tmp_path):
    with metrics_of(tmp_path, "tensorboard") as metrics:
        metrics.write(5, "train", {"loss": math.nan, "gradient_norm": math.inf})
        before = (tmp_path / "metrics.jsonl").read_text()
        assert metrics.cut_back(5) == 0
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert [tag for tag, _, value in events_of(tmp_path) if math.isinf(value)] == ["gradient_norm/train"]


def test_event_files_of_an_earlier_start_are_cut_back_when_they_are_no_longer_written(tmp_path):
    write_run(tmp_path, range(1, 4))
    with Metrics(tmp_path) as metrics:
        metrics.cut_back(1)
        metrics.write(2, "train", {"loss": 0.5})
    assert {event[1] for event in events_of(tmp_path)} == {1}


def test_seconds_go_on_from_the_last_line_that_was_kept(tmp_path):
    lines = [{"step": step, "split": "train", "loss": 1.0, "seconds": 1000.0 * step} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Metrics(tmp_path) as metrics:
        metrics.cut_back(1)
        metrics.write(2, "train", {"loss": 0.5})
    assert 1000.0 <= read(tmp_path)[-1]["seconds"] < 1100.0


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    write_run(tmp_path, range(1, 3))
    path = tmp_path / "metrics.jsonl"
    path.write_text("not ours\n" + path.read_text())
    with pytest.raises(
        UserError, match=r"metrics.jsonl, line 1 cannot be read: it is not JSON: Expecting value at character 1"
    ):
        read(tmp_path)


@contextlib.contextmanager
def limited_to(size: int):
    """No file can be longer than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_is_an_os_error_with_the_path(tmp_path):
    metrics = metrics_of(tmp_path, "tensorboard")
    with limited_to(0), pytest.raises(OSError, match="metrics could not be written: File too large") as error:
        metrics.write(1, "train", {"loss": 1.0})
    metrics.close()
    assert error.value.filename == str(tmp_path / "metrics.jsonl")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_event_files_that_cannot_be_written_cost_the_run_nothing(tmp_path, capsys):
    metrics = metrics_of(tmp_path, "tensorboard")
    with limited_to(70):  # room for the line, but not for its events
        metrics.write(1, "train", {"loss": 1.0})
        metrics.flush()
    metrics.close()
    assert [line["step"] for line in read(tmp_path)] == [1]
    assert "note: tensorboard failed, so it gets no more metrics; training goes on (OSError" in capsys.readouterr().err


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run_progress(console: Console) -> None:
    clock = Clock()
    with progress(100, 20, console, every_seconds=10.0, clock=clock) as shown:
        for step in range(21, 101):
            clock.now += 1.0
            shown.update(step, loss=2.0 / step, examples=64, tokens=640)


def test_a_log_file_gets_plain_lines_every_few_seconds_and_at_the_end():
    console = Console(file=io.StringIO(), width=80)
    run_progress(console)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 8
    assert lines[0] == "step 30/100  loss 0.0667  64 examples/s  640 tokens/s  1 min 10 s left"
    assert lines[-1] == "step 100/100  loss 0.0200  64 examples/s  640 tokens/s  0 s left"


def test_a_terminal_gets_a_bar_with_the_same_numbers():
    console = Console(file=io.StringIO(), width=120, force_terminal=True, _environ={})
    run_progress(console)
    last = console.file.getvalue().rsplit("\x1b[2K")[-1]  # what follows the last clearing of the line
    for fact in ("100/100", "loss 0.0200", "64 examples/s", "640 tokens/s", "0 s left"):
        assert fact in last


def test_time_left_is_of_the_present_speed_not_of_compilation():
    clock = Clock()
    with progress(1000, 0, Console(file=io.StringIO()), clock=clock) as shown:
        clock.now += 60.0  # the first step compiles
        shown.update(1)
        for step in range(2, 101):
            clock.now += 0.5
            shown.update(step)
        assert shown.seconds_left == pytest.approx(450.0)


def test_no_time_left_is_shown_before_two_intervals_in_which_nothing_was_compiled():
    clock, console = Clock(), Console(file=io.StringIO())
    with progress(1000, 0, console, every_seconds=0.0, clock=clock) as shown:
        steps = iter(range(1, 1000))

        def update(seconds: float, shape: int, evaluated: bool = False) -> float | None:
            clock.now += seconds
            shown.update(next(steps), examples=8, tokens=80, shape=shape, evaluated=evaluated)
            return shown.seconds_left

        assert update(600.0, 16) is None  # the first step compiles
        assert update(0.5, 16) is None
        assert update(300.0, 32) is None  # so does the first batch of another shape
        assert update(0.5, 32) == pytest.approx(0.5 * 996)
        assert update(0.5, 16) == pytest.approx(0.5 * 995)
        assert update(100.0, 16, evaluated=True) == pytest.approx(0.5 * 994)  # and the first evaluation
        assert update(3.5, 16, evaluated=True) == pytest.approx(1.25 * 993)  # which counts once it is compiled
    lines = console.file.getvalue().splitlines()
    assert [("left" in line, "tokens/s" in line) for line in lines] == [(False, False)] * 3 + [(True, True)] * 4


def test_paths_and_commands_stay_whole_and_a_table_has_every_column():
    console = Console(file=io.StringIO(), width=40)
    path = "/" + "long/" * 20 + "[bold].png"
    print_paths(console, {"curves": path})
    print_next(console, [f"python -m experiments.explore --workdir={path}"])
    console.print(final_table([{"split": "test", "exact_match": 0.98765}, {"split": "train", "steps": 2000}]))
    text = console.file.getvalue()
    assert text.splitlines()[:3] == [f"curves  {path}", "Next:", f"  python -m experiments.explore --workdir={path}"]
    assert "exact match" in text
    assert "0.9877" in text
    assert "2000" in text


@pytest.mark.parametrize(("seconds", "text"), [(59.4, "59 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")])
def test_durations_are_in_words(seconds, text):
    assert duration(seconds) == text
