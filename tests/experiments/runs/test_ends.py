"""The ends of processes: which failure was the cause, and what is said of it."""

import signal

import pytest

from experiments.parallel.processes import Wish
from experiments.runs.ends import End

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
    assert not any(End(0, "a", code, done=True).failed for code in (0, 130, 143))
    assert all(end.failed for end in (MISTAKE, KILLED, GONE, FAILED, ABORTED))


@pytest.mark.parametrize(("code", "name"), [(143, "SIGTERM"), (130, "SIGINT")])
def test_a_process_that_is_stopped_before_it_has_done_its_part_is_the_cause(code, name):
    end = End(1, "b", code)
    assert end.failed
    assert min([ABORTED, OF_A_PEER, MISTAKE, end], key=lambda end: end.rank) == end
    assert end.in_words(2) == f"process 1 of 2 (b) was stopped by {name} before it could save"
    assert End(1, "b", 0).failed


def test_the_line_of_a_failure_names_the_process_its_machine_and_what_happened():
    assert KILLED.in_words(4) == "process 2 of 4 (c) was ended by SIGKILL (out of memory?)"
    assert ABORTED.in_words(2) == "process 0 of 2 (a) was ended by SIGABRT"
    assert End(1, "b", -40).in_words(2) == "process 1 of 2 (b) was ended by signal 40"  # one without a name
    assert GONE.in_words(4) == "process 3 of 4 (d) or its machine is gone"
    assert MISTAKE.in_words(2) == "process 1 of 2 (b): the mesh is wrong."
    assert FAILED.in_words(2) == "process 0 of 2 (a) ended with code 1: ValueError: a bug"


NOT_CONNECTED = "F1201 09:56:06.98 1 client.h:80] Terminating process because the JAX distributed service ... {}\n"


def test_the_abort_of_a_process_that_does_not_connect_is_an_error_of_one_line():
    late = NOT_CONNECTED.format("absl::Status: DEADLINE_EXCEEDED: Deadline Exceeded")
    wish, code = Wish(2, 1, "host:1234"), -signal.SIGABRT
    line = str(End(0, "a", code, late + "\n*** Check failure stack trace: ***\n").of_connecting(wish))
    assert line.startswith(
        "process 1 of 2 is not connected by host:1234; got nothing within 300 s. Start all processes"
    )
    assert "of its cluster; got nothing within 300 s." in str(End(0, "a", code, late).of_connecting(Wish()))
    other = NOT_CONNECTED.format("absl::Status: ABORTED: twice")
    assert "got ABORTED: twice." in str(End(0, "a", code, other).of_connecting(wish))
    assert End(0, "a", code, "F1201 09:56:06.98 1 cuda.cc:1] no memory\n").of_connecting(wish) is None
    assert End(0, "a", 1, late).of_connecting(wish) is None
