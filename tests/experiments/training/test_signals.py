"""Signals: what stops and saves, what ends at once, what is printed, and what a command takes along."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.training.signals import SAME_REQUEST_SECONDS, StopRequest, catch_stop_signals, exit_code, owned

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_signal_is_recorded_and_the_old_handlers_come_back(number, code):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with catch_stop_signals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop.received == number
        assert exit_code(stop.received) == code
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == number
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_only_a_later_ctrl_c_raises_in_a_program_of_the_users():
    now = [0.0]
    request = StopRequest(lambda: now[0])
    request(signal.SIGINT)
    request(signal.SIGINT)  # sent to the process and to its group
    now[0] = 2 * SAME_REQUEST_SECONDS
    request(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        request(signal.SIGINT)
    assert request.received == signal.SIGINT


def test_another_thread_receives_no_signals_and_changes_no_handler():
    before, found = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with catch_stop_signals() as stop:
            found.append((stop.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, before)]


def test_what_is_owned_is_released_once():
    released = []
    with owned(lambda: 3, released.append) as three:
        assert (three, released) == (3, [])
    assert released == [3]


COMMAND = """
import sys, time
from pathlib import Path
from experiments.training.processes import child
from experiments.training.signals import CommandSignals, catch_stop_signals, exit_code, owned

CommandSignals()
here = Path(sys.argv[1])
print("ready", flush=True)
print("an answer")  # not written yet
if sys.argv[2] == "stops":
    with catch_stop_signals() as stop:
        while stop.received is None:
            time.sleep(0.01)
        time.sleep(float(sys.argv[3]))
        print(f"saved", flush=True)
    raise SystemExit(exit_code(stop.received))
with owned(lambda: here / "temporary", lambda path: path.unlink()) as path:
    path.write_text("")
    with child([sys.executable, "-c", "import time; time.sleep(60)"], here / "output") as process:
        (here / "child").write_text(str(process.pid))
        (here / "child").rename(here / "started")
        time.sleep(60)
"""
"""A command without JAX: it stops and saves for as long as given, or owns a file and a process."""


def interrupt(tmp_path, words: list[str], numbers: list[int], gap: float, ignored: int | None = None):
    """Send signals to a command; return its exit code and its lines after the first, of both streams."""
    handler = signal.signal(ignored, signal.SIG_IGN) if ignored is not None else None
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ignored is not None:
        signal.signal(ignored, handler)
    with process:
        assert process.stdout.readline() == "ready\n"
        while words[0] == "owns" and not (tmp_path / "started").exists():
            time.sleep(0.01)
        time.sleep(0.05)
        for number in numbers:
            process.send_signal(number)
            time.sleep(gap)
        lines = process.stdout.read().splitlines()
    return process.returncode, lines


AT_ONCE = ["an answer", "Interrupted by {} again, so nothing more is saved"]


@pytest.mark.parametrize(
    ("seconds", "numbers", "gap", "code", "lines"),
    [
        (0.0, [signal.SIGINT], 0.0, 130, ["an answer", "saved"]),
        (0.1, [signal.SIGINT] * 3, 0.0, 130, ["an answer", "saved"]),  # one request, sent several times
        (60, [signal.SIGINT] * 5, 0.3, 130, AT_ONCE),
        (60, [signal.SIGTERM, signal.SIGINT], 0.3, 130, AT_ONCE),
        (0.5, [signal.SIGTERM] * 2, 0.3, 143, ["an answer", "saved"]),
        (60, [signal.SIGINT, signal.SIGQUIT], 0.1, 131, AT_ONCE),
    ],
)
def test_a_training_saves_unless_it_is_asked_again(seconds, numbers, gap, code, lines, tmp_path):
    found = interrupt(tmp_path, ["stops", str(seconds)], numbers, gap)
    assert found == (code, [line.format(signal.Signals(numbers[-1]).name) for line in lines])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_any_other_command_ends_with_one_line_and_takes_along_what_it_owns(number, tmp_path):
    found = interrupt(tmp_path, ["owns"], [number] * 3, 0.0)
    assert found == (128 + number, ["an answer", f"Interrupted by {number.name}"])
    assert not (tmp_path / "temporary").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "started").read_text()), 0)


def test_a_closed_terminal_is_ignored_under_nohup_and_ctrl_c_is_not(tmp_path):
    found = interrupt(tmp_path, ["owns"], [signal.SIGHUP, signal.SIGINT], 0.1, ignored=signal.SIGHUP)
    assert found == (130, ["an answer", "Interrupted by SIGINT"])
