"""The supervision of processes, which here are small programs: what is passed on, and what is said at their end."""

import contextlib
import io
import signal
import subprocess
import sys
import textwrap

import pytest

from experiments.runs.ends import End
from experiments.runs.supervisor import Supervisor

MISTAKE = End(1, "b", 2, "error: the mesh is wrong.\n")
KILLED = End(2, "c", -signal.SIGKILL)
GONE = End(3, "d", None)
FAILED = End(0, "a", 1, "Traceback ...\nValueError: a bug\n")
OF_A_PEER = End(0, "a", 1, "XlaRuntimeError: INTERNAL: [gloo] Connection closed by peer\n")
ABORTED = End(0, "a", -signal.SIGABRT, "F1130 12:00:00 coordination service: ...\n")


def test_the_cause_is_what_ended_by_itself_and_not_what_waited_for_it():
    for cause, others in [
        (KILLED, [FAILED, MISTAKE, OF_A_PEER, ABORTED]),
        (GONE, [ABORTED, FAILED]),
        (MISTAKE, [OF_A_PEER, ABORTED, FAILED]),
        (FAILED, [End(1, "b", 1, OF_A_PEER.text), End(2, "c", -signal.SIGABRT)]),
    ]:
        assert min([*others, cause], key=lambda end: end.rank) == cause
    assert min([MISTAKE, End(0, "a", 2, "error: the mesh is wrong.\n")], key=lambda end: end.rank).process == 0
    assert not any(End(0, "a", code).failed for code in (0, 130, 143))
    assert all(end.failed for end in (MISTAKE, KILLED, GONE, FAILED, ABORTED))


def test_the_line_of_a_failure_names_the_process_its_machine_and_what_happened():
    assert KILLED.in_words(4) == "process 2 of 4 (c) was ended by SIGKILL (out of memory?)"
    assert ABORTED.in_words(2) == "process 0 of 2 (a) was ended by SIGABRT"
    assert GONE.in_words(4) == "process 3 of 4 (d) or its machine is gone"
    assert MISTAKE.in_words(2) == "process 1 of 2 (b): the mesh is wrong."
    assert FAILED.in_words(2) == "process 0 of 2 (a) ended with code 1: ValueError: a bug"


def supervised(program):
    """Supervise a program; return the exit code, and what is printed as an error."""
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = Supervisor(None).run([sys.executable, "-c", textwrap.dedent(program)])
    return code, errors.getvalue()


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


def test_a_child_ends_with_its_parent():
    program = """
        import subprocess, sys
        from experiments.runs.supervisor import Supervisor
        Supervisor(None).run([sys.executable, "-c", '''
        import os, socket, threading, time
        from experiments.runs.supervised import SUPERVISOR, _end_with
        channel = socket.socket(fileno=int(os.environ[SUPERVISOR].split()[0]))
        threading.Thread(target=_end_with, args=(channel,), daemon=True).start()
        print(os.getpid(), flush=True)
        time.sleep(100)
        '''.replace("\\n        ", "\\n")])
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""  # the end of the child closes it
    parent.stdout.close()
