"""The processes of a run: what a command line asks for, what must be the same, and which examples each has."""

import contextlib
import errno
import socket
from hashlib import sha256
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batching import Batches
from experiments.parallel import placement
from experiments.parallel.config import AXES
from experiments.parallel.processes import (
    ALONE,
    VARIABLES,
    Processes,
    Wish,
    asked_for,
    connect,
    listening,
    refuse_others,
    refuse_used_port,
)
from experiments.runs import same_everywhere
from experiments.training.experiment import set_up
from tests.fixtures.commands import error_of
from tests.fixtures.tiny_recipes import tiny_recipe

GIVEN = ["--processes=4", "--process=1", "--coordinator=host:1234"]


def test_the_words_of_a_command_line_ask_for_processes():
    assert asked_for(["--config=dates", "--workdir=x"]) is None
    assert asked_for(["--processes=1"]) is None
    assert asked_for(GIVEN) == Wish(4, 1, "host:1234")
    assert asked_for(["--processes", "4", "--process", "1", "--coordinator", "host:1234"]) == Wish(4, 1, "host:1234")
    assert asked_for([*GIVEN, "--process=0"]) == Wish(4, 0, "host:1234")
    assert asked_for(["--processes=auto"]) == Wish()


def test_the_environment_has_what_auto_asks_for(monkeypatch):
    for name, value in zip(VARIABLES.values(), ("2", "0", "[::1]:99"), strict=True):
        monkeypatch.setenv(name, value)
    assert asked_for(["--processes=auto"]) == Wish(2, 0, "[::1]:99")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    message = "JAX_PROCESS_ID does not fit JAX_NUM_PROCESSES; got 2; expected a number from 0 to 1"
    assert message in error_of(asked_for, ["--processes=auto"])
    monkeypatch.delenv("JAX_PROCESS_ID")
    assert "needs --process (JAX_PROCESS_ID)" in error_of(asked_for, ["--processes=auto"])
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    assert asked_for(["--processes=auto"]) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--processes=2"], "--processes=2 needs --process (JAX_PROCESS_ID) and --coordinator"),
        ([*GIVEN, "--process=4"], "--process does not fit --processes; got 4; expected a number from 0 to 3"),
        ([*GIVEN, "--process=-1"], "--process is no number; got '-1'"),
        ([*GIVEN, "--processes=two"], "--processes is no number; got 'two'"),
        ([*GIVEN, "--processes=0"], "--processes is out of range; got 0; expected 1 or more, or auto"),
        ([*GIVEN, "--coordinator=host"], "--coordinator is no address; got 'host'; expected HOST:PORT"),
        ([*GIVEN, "--coordinator=[::1]:70000"], "--coordinator is no address; got '[::1]:70000'; expected HOST:PORT"),
    ],
)
def test_a_mistake_in_the_flags_of_processes_is_named(words, message):
    assert message in error_of(asked_for, words)


class Pretended(Processes):
    """Processes of which the second one has other facts."""

    def gather(self, value):
        host, facts = value
        return [[host, facts], ["b", {**facts, "versions": {"jax": "1"}}]]


def test_processes_that_differ_are_named_with_what_differs():
    facts = {"settings": {"a": 1}, "versions": {"jax": "2"}}
    line = error_of(refuse_others, Pretended(2, 0), facts, {"versions": lambda first, other: f"{other} beside {first}"})
    assert "process 1 (b) has other versions than process 0" in line
    assert "got {'jax': '1'} beside {'jax': '2'}" in line
    words = {"versions": lambda first, other: 1 / 0}  # which describes two values, not one
    assert "has other versions than process 0" in error_of(refuse_others, Pretended(2, 0), {"settings": {}}, words)
    refuse_others(ALONE, facts)
    assert ALONE.gather(facts) == [facts]
    assert ALONE.whole(facts) is facts


class Older(Processes):
    """Processes of which the second one has less facts."""

    def gather(self, value):
        return [value, ["b", {}]]


def test_a_fact_that_another_version_does_not_have_differs():
    line = error_of(refuse_others, Older(2, 0), {"code": "1"}, {"code": lambda first, other: 1 / 0})
    assert "process 1 (b) has other code than process 0" in line


def test_the_parents_listen_at_addresses_of_ipv4_and_of_ipv6():
    with listening() as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
            except OSError:
                pytest.skip("a machine without IPv6")
            socket.create_connection(("::1", port), timeout=10).close()


def test_a_machine_without_ipv6_listens_at_addresses_of_ipv4(monkeypatch):
    create_server = socket.create_server

    def without(address, **options):
        if options:
            raise OSError(errno.EADDRNOTAVAIL, "none")
        return create_server(address)

    monkeypatch.setattr(socket, "create_server", without)
    with listening() as server:
        assert server.family == socket.AF_INET


def test_a_port_in_use_is_refused_also_where_its_program_would_share_it(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the coordinator of JAX does
        server.bind(("", 0))
        server.listen()
        port = server.getsockname()[1]
        line = error_of(connect, Wish(2, 0, f"host:{port}"))
        assert line.startswith(
            f"port {port} of this machine is in use; expected a free port in --coordinator. Choose an"
        )
    refuse_used_port(port)


@pytest.mark.parametrize(
    ("wish", "error", "message"),
    [
        (Wish(), ValueError("no address"), "recognises no cluster; got none of their variables; expected a job"),
        (Wish(), RuntimeError("late"), "not connected with the others of its cluster; got late. Start all"),
        (Wish(2, 1, "host:1"), RuntimeError("late"), "process 1 of 2 is not connected by host:1; got late. Start all"),
    ],
)
def test_a_failure_to_connect_is_no_missing_cluster(wish, error, message, monkeypatch):
    def initialize(*_, **__):
        raise error

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    assert message in error_of(connect, wish)


def test_processes_with_different_numbers_of_devices_are_refused_by_all(monkeypatch):
    left = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: left.append(True))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    devices = [SimpleNamespace(process_index=index) for index in (0, 0, 1, 2, 2, 2)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    line = error_of(connect, Wish(3, 1, "host:1"))
    what = "different numbers of devices; got 2 in process 0, 1 in process 1, 3 in process 2; expected the same number"
    assert what in line
    assert left == [True]
    del devices[4:], devices[1]
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert connect(Wish(3, 1, "host:1")) == Processes(3, 1)


def test_a_working_directory_that_is_not_shared_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(same_everywhere, "LATE_SECONDS", 0.0)
    own, others = tmp_path / "own", tmp_path / "others"
    for folder in (own, others):
        folder.mkdir()
    (own / "config.json").write_text("{}")

    class Apart(Processes):
        def gather(self, value):
            other = sha256(b"").hexdigest()
            return [value, other if isinstance(value, str) else [value[0], {"files in --workdir": other}]]

    line = error_of(same_everywhere.refuse_other_folder, Apart(2, 0), own)
    assert "has other files in --workdir than process 0" in line
    assert f"on a file system that all machines share; that of process 0 is {own}" in line
    same_everywhere.refuse_other_folder(Apart(2, 0), others)
    same_everywhere.refuse_other_folder(ALONE, tmp_path / "absent")


def test_a_file_that_a_process_still_has_as_it_was_is_waited_for(tmp_path, monkeypatch):
    path, waits = tmp_path / "config.json", []
    path.write_text('{"steps": 1}')
    new = '{"steps": 2}'

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            path.write_text(new)

    monkeypatch.setattr(same_everywhere, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: sum(waits)))

    class Second(Processes):
        def gather(self, value):
            first = sha256(new.encode()).hexdigest()
            return [first if isinstance(value, str) else [value[0], {"files in --workdir": first}], value]

    same_everywhere.refuse_other_folder(Second(2, 1), tmp_path)
    assert len(waits) == 2
    new = "{}"
    assert "has other files in --workdir" in error_of(same_everywhere.refuse_other_folder, Second(2, 1), tmp_path)
    assert same_everywhere.LATE_SECONDS <= sum(waits) < same_everywhere.LATE_SECONDS + 1


def test_several_processes_need_a_mesh(tmp_path, monkeypatch):
    config = tiny_recipe("dates", tmp_path)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert "several processes need a mesh; got 2 processes" in error_of(set_up, config, placed=True)


class Device:
    """A device of a process."""

    def __init__(self, number, process):
        self.id, self.process_index = number, process


@given(
    st.sampled_from([(1, 8, 1, 1), (4, 1, 1, 2), (2, 2, 2, 1), (1, 1, 4, 2), (2, 1, 1, 4), (8, 1, 1, 1)]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 3),
)
def test_every_process_has_the_examples_of_its_devices_and_no_more_than_it_needs(shape, processes, each):
    devices = [Device(number, number * processes // 8) for number in range(8)]
    mesh = type(
        "FakeMesh", (), {"devices": np.array(devices).reshape(shape), "shape": dict(zip(AXES, shape, strict=True))}
    )
    parts = shape[0] * shape[1]
    count = parts * each
    for process in range(processes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax, "process_index", lambda process=process: process)
            part, of = placement._share(mesh)
        rows = range(part * count // of, (part + 1) * count // of)
        own = [
            i for i, row in enumerate(mesh.devices.reshape(parts, -1)) if any(d.process_index == process for d in row)
        ]
        assert list(rows) == [i for i in range(count) if i * parts // count in own]


def test_a_part_of_a_batch_is_cut_from_it_or_made_alone():
    class Plan:
        def batch(self, step):
            return np.arange(8) + step, "more"

    made = []

    def make(examples, more):
        made.append(len(examples))
        return {"source": examples * 2}

    for by_example in (True, False):
        batches = Batches(Plan(), make, by_example=by_example)
        np.testing.assert_array_equal(batches.at(3, lambda count: slice(count // 2, None))["source"], [14, 16, 18, 20])
        (first,) = batches.starting_at(3, 4, part=lambda count: slice(0, 1))
        np.testing.assert_array_equal(first["source"], [6])
    assert made == [4, 1, 8, 8]
