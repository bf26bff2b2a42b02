"""The supervision of processes, which here are small programs: what is passed on, and what is said at their end."""

import contextlib
import io
import queue
import socket
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

from experiments import train
from experiments.parallel.processes import Wish
from experiments.runs import child, supervisor
from experiments.runs.child import Child
from experiments.runs.supervisor import Supervisor


def supervised(program, workdir=None, wish=None):
    """Supervise a program; return the exit code, and what is printed as an error."""
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = Supervisor(workdir, wish).run([sys.executable, "-c", textwrap.dedent(program)])
    return code, errors.getvalue()


def connected(program, index=0, port=0):
    """Return a program that reports to its parent that it is one of two processes, and goes on with another one."""
    return f"""
import json, os, signal, socket, sys
channel = socket.socket(fileno=int(os.environ["TRANSFORMER_SUPERVISOR"].split()[0]))
here = {{"count": 2, "index": {index}, "hosts": ["a", "b"], "address": ["127.0.0.1", {port}], "token": "x"}}
channel.sendall(json.dumps(here).encode() + b"\\n")
{program}
"""


DONE = "channel.sendall(b'{\"done\": true}\\n')"


@pytest.mark.parametrize(
    ("program", "code", "errors"),
    [
        ("import sys; print('a note', file=sys.stderr)", 0, "a note\n"),
        ("import sys; print('error: no', file=sys.stderr); sys.exit(2)", 2, "error: no\n"),
        ("import sys; print('[Gloo] hello', file=sys.stderr); sys.exit(143)", 143, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
    ],
)
def test_a_process_that_is_not_connected_ends_as_it_would_alone(program, code, errors):
    assert supervised(program) == (code, errors)


@pytest.mark.parametrize("code", [0, 130, 143])
def test_a_connected_process_that_ends_before_it_has_done_its_part_has_failed(code, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "REPORTS_SECONDS", 0.1)
    assert supervised(connected(f"{DONE}\nsys.exit({code})")) == (code, "")
    found, errors = supervised(connected(f"os._exit({code})"), tmp_path)
    assert found == (code or 1)
    what = {0: "ended with code 0", 130: "was stopped by SIGINT before", 143: "was stopped by SIGTERM before"}[code]
    assert errors.startswith(f"error: process 0 of 2 (a) {what}")
    assert errors.endswith("starts anew, as there is no checkpoint yet; their number may be another.\n")


def test_an_error_is_printed_where_the_parent_of_process_0_is_not_reached(monkeypatch):
    monkeypatch.setattr(supervisor, "REPORTS_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    program = connected("print('error: no', file=sys.stderr); sys.exit(2)", index=1, port=port)
    code, errors = supervised(program)
    note, error = errors.splitlines()
    assert note.startswith(f"note: process 0 is not reached by 127.0.0.1:{port} (Connection refused)")
    assert (code, error) == (2, "error: no")


def test_a_connection_that_is_closed_at_once_is_one_that_is_not_reached(monkeypatch, capsys):
    def sendall(_):
        raise BrokenPipeError("closed")

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: SimpleNamespace(sendall=sendall))
    one = Supervisor(None)
    one._connect({"count": 2, "index": 1, "hosts": ["a", "b"], "address": ["a", 1], "token": "x"}, None)
    assert one.peers == {}
    assert capsys.readouterr().err.startswith("note: process 0 is not reached by a:1 (closed)")


def test_a_process_that_jax_aborts_before_it_is_connected_ends_with_one_line():
    program = """
        import os, signal, sys
        print("F1201 09:56:06 1 client.h:80] the JAX distributed service: absl::Status: DEADLINE_EXCEEDED: no"
            + "\\n@ 0x7f8b18a40634" * 300, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    """
    code, errors = supervised(program, wish=Wish(2, 1, "host:1234"))
    assert code == 2
    assert errors.startswith("error: process 1 of 2 is not connected by host:1234; got nothing within 300 s. Start all")
    assert errors.count("\n") == 1


def test_help_is_printed_by_the_command_itself(capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--processes=2", "--help"])
    assert stop.value.code == 0
    assert "--coordinator" in capsys.readouterr().out


def test_the_last_line_comes_where_the_folder_of_checkpoints_is_gone(tmp_path, monkeypatch):
    def steps_in(_):
        raise OSError("stale file handle")

    monkeypatch.setattr(supervisor, "steps_in", steps_in)
    assert "continues from the newest checkpoint; their number" in Supervisor(tmp_path)._again()


def test_lines_that_began_as_an_error_are_passed_on_while_the_child_lives(monkeypatch):
    monkeypatch.setattr(child, "HELD_SECONDS", 0.2)
    printed = "E1201 10:00:00.1 a warning\nmore\n"
    program = f"import sys, time; sys.stderr.write({printed!r}); sys.stderr.flush(); time.sleep(100)"
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        one, end = Child([sys.executable, "-c", program], 0, queue.Queue()), time.monotonic() + 20
        while errors.getvalue() != printed and time.monotonic() < end:
            time.sleep(0.05)
        one.end()
    assert errors.getvalue() == printed
    assert (one.held, "".join(one.errors)) == ([], printed)


def test_a_child_goes_on_where_nobody_reads_the_errors(monkeypatch):
    class Closed(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    program = "import signal, sys; signal.alarm(10); print('a line\\n' * 100_000, file=sys.stderr)"
    with contextlib.redirect_stderr(Closed()):
        assert Supervisor(None).run([sys.executable, "-c", program]) == 0


def test_a_child_that_waits_for_the_others_ends_with_its_parent():
    program = """
        import sys
        from experiments.runs.supervisor import Supervisor
        Supervisor(None).run([sys.executable, "-c", '''
        import os, time
        from experiments import train
        def connect(wish):
            print(os.getpid(), flush=True)
            time.sleep(100)
        train.connect = connect
        train.main(["--processes=2", "--process=0", "--coordinator=host:1"])
        '''.replace("\\n        ", "\\n")])
    """
    started = time.monotonic()
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""  # the end of the child closes it
    parent.stdout.close()
    assert time.monotonic() - started < 90
