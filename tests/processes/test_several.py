"""A run of several processes over loopback: its losses are those of one device, and no process outlives another."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.storage.metrics import read
from experiments.training.signals import exit_code
from tests.fixtures.processes import ON_DEVICES

pytestmark = pytest.mark.more

ROOT = Path(__file__).resolve().parents[2]
STEPS = 10
TINY = {
    **ON_DEVICES,
    "config.training.steps": STEPS,
    "config.training.output.evaluate_every": 2,
    "config.decoding.strategy": "sampling",
    "config.task.metrics": "tests.fixtures.dying_metric:letters",
}


def started(workdir, count, *flags, devices=2, index=0, port=None, host="127.0.0.1", **variables):
    """Start a process of a run; its files of output are in a folder beside the working directory."""
    size = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {size}", **variables}
    words = [sys.executable, "-m", "experiments.train", "--config=dates"]
    own = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    words += [f"--{name}={value}" for name, value in {**TINY, "workdir": workdir, **own}.items()]
    words += [f"--processes={count}", f"--process={index}", f"--coordinator={host}:{port}"] if count > 1 else []
    folder = workdir.parent / "printed"
    folder.mkdir(exist_ok=True)
    with open(folder / f"{index}.out", "w") as out, open(folder / f"{index}.err", "w") as error:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=error)


def free_port():
    """Return a free port of those that the system gives to no process by itself, so that it is still free later."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def ended(workdir, count, *flags, own=(), devices=2, **options):
    """Run all processes of a run; return the exit codes, and what each printed as output and as errors.

    Args:
        own: further flags of the last process alone.
        devices: their number in each process, or a list of those numbers.
    """
    port = free_port()
    devices = devices if isinstance(devices, list) else [devices] * count
    all_flags = [(*flags, *(own if index == count - 1 else ())) for index in range(count)]
    processes = [
        started(workdir, count, *all_flags[i], index=i, port=port, devices=devices[i], **options) for i in range(count)
    ]
    try:
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return codes, *printed(workdir, count)


def printed(workdir, count):
    folder = workdir.parent / "printed"
    return [[(folder / f"{i}.{kind}").read_text() for i in range(count)] for kind in ("out", "err")]


def losses(workdir):
    return {row["step"]: row["loss"] for row in read(workdir) if row["split"] == "train"}


def scores(workdir):
    return [
        (row["step"], row["split"], row["loss"], row["letters"]) for row in read(workdir) if row["split"] != "train"
    ]


def check_same(workdir, one):
    np.testing.assert_allclose(list(losses(workdir).values()), list(losses(one).values()), rtol=1e-5)
    assert list(losses(workdir)) == list(range(1, STEPS + 1))
    for found, expected in zip(scores(workdir), scores(one), strict=True):
        assert found[:2] == expected[:2]
        np.testing.assert_allclose(found[2:], expected[2:], rtol=1e-4)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process with one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    codes, _, errors = ended(workdir, 1, devices=1)
    assert codes == [0], errors
    return workdir


def test_four_processes_have_the_losses_of_one_device_and_one_of_them_prints(tmp_path, one):
    workdir = tmp_path / "run"
    codes, outputs, errors = ended(workdir, 4, "--config.mesh.data=2", "--config.mesh.tensor=-1", devices=1)
    assert codes == [0] * 4, errors
    check_same(workdir, one)
    assert "1 x cpu (cpu) in each of 4 processes, a mesh of data 2 x tensor 2" in outputs[0]
    assert outputs[1:] == [""] * 3 or all("step" not in output for output in outputs[1:])
    assert (workdir / "plots" / "curves.png").exists()


def test_a_process_that_is_killed_ends_the_others_and_the_run_goes_on_with_two_or_with_one(tmp_path, one):
    workdir, alone = tmp_path / "two" / "run", tmp_path / "alone" / "run"
    workdir.parent.mkdir()
    mesh = ["--config.mesh.data=2", "--config.mesh.fsdp=2"]
    died = tmp_path / "died"
    codes, _, errors = ended(workdir, 2, *mesh, DIES=str(died))
    assert time.time() - died.stat().st_mtime < 60
    assert codes == [1, exit_code(signal.SIGKILL)]
    for error in errors:
        (line,) = error.splitlines()
        assert "process 1 of 2" in line
        assert "was ended by SIGKILL" in line
        assert "The same command on each machine continues from checkpoint" in line
    shutil.copytree(workdir, alone)
    codes, outputs, errors = ended(workdir, 2, *mesh)
    assert codes == [0, 0], errors
    assert "Continuing from step" in outputs[0]
    check_same(workdir, one)
    codes, outputs, errors = ended(alone, 1, devices=1)
    assert codes == [0], errors
    assert "Continuing from step" in outputs[0]
    check_same(alone, one)


def test_a_stop_that_one_process_receives_stops_all_after_the_same_step(tmp_path):
    workdir, port = tmp_path / "run", free_port()
    flags = [
        "--config.mesh.data=-1",
        "--config.training.steps=100_000",
        "--config.training.output.evaluate_every=50_000",
    ]
    processes = [started(workdir, 2, *flags, devices=1, index=i, port=port) for i in range(2)]
    while not (workdir / "metrics.jsonl").exists() and all(process.poll() is None for process in processes):
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=100) for process in processes]
    outputs, errors = printed(workdir, 2)
    assert codes == [exit_code(signal.SIGTERM)] * 2, errors
    step = max(losses(workdir))
    assert f"Stopped at step {step}; saved. Continue with the same command:" in outputs[0]
    assert (workdir / "checkpoints" / str(step)).is_dir()


def test_a_metric_that_differs_between_processes_is_that_of_the_first_in_all(tmp_path):
    workdir = tmp_path / "run"
    own = {"task.metrics": "tests.fixtures.metric_apart:rising", "training.output.best": "rising"}
    flags = [f"--config.{name}={value}" for name, value in {**own, "training.patience": 1, "mesh.data": -1}.items()]
    codes, _, errors = ended(workdir, 2, *flags, devices=1)
    assert codes == [0, 0], errors
    assert [row["step"] for row in read(workdir) if row["split"] == "validation"] == list(range(2, STEPS + 1, 2))


def test_a_process_that_is_told_to_end_at_once_is_named_as_the_cause(tmp_path):
    workdir, died = tmp_path / "run", tmp_path / "died"
    flags = ["--config.mesh.data=2", "--config.mesh.fsdp=2"]
    codes, _, errors = ended(workdir, 2, *flags, DIES=str(died), SIGNALS="2,2")
    assert codes == [1, exit_code(signal.SIGINT)]
    note, *lines = errors[1].splitlines()
    assert note == "Interrupted by SIGINT again, so nothing more is saved"
    assert errors[0].splitlines() == lines
    (line,) = lines
    assert line.startswith("error: process 1 of 2 (")
    assert "was stopped by SIGINT before it could save. All processes have ended." in line


def test_a_mistake_of_one_process_is_printed_where_the_coordinator_has_an_address_of_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("a machine without IPv6")
    own = ["--config.model.width=seven"]
    codes, _, errors = ended(tmp_path / "run", 2, "--config.mesh.data=4", own=own, host="[::1]")
    assert codes == [2, 2]
    assert errors[1] == ""
    (line,) = errors[0].splitlines()
    assert line.startswith("error: process 1 of 2 (")
    assert "model.width" in line


def test_processes_with_different_numbers_of_devices_are_one_line(tmp_path):
    codes, _, errors = ended(tmp_path / "run", 2, "--config.mesh.data=-1", devices=[2, 1])
    assert codes == [2, 2]
    for error in errors:
        (line,) = error.splitlines()
        what = "the processes have different numbers of devices; got 2 in process 0, 1 in process 1; expected the same"
        assert line.startswith(f"error: {what} number in each. ")


def test_a_mistake_of_all_is_one_line_of_the_first_process(tmp_path):
    workdir = tmp_path / "run"
    codes, _, errors = ended(workdir, 2, "--config.mesh.data=4", "--config.training.batch_size=6")
    assert codes == [2, 2]
    assert errors[1] == ""
    (line,) = errors[0].splitlines()
    assert line.startswith("error: mesh.data x mesh.fsdp does not divide the examples of a batch; got 6 examples")
    assert not workdir.exists()


def test_processes_that_differ_are_named_by_the_first_one(tmp_path):
    workdir = tmp_path / "run"
    codes, _, errors = ended(workdir, 2, "--config.mesh.data=4", own=["--config.optimizer.learning_rate=0.5"])
    assert codes == [2, 2]
    assert errors[1] == ""
    (line,) = errors[0].splitlines()
    assert "process 1 (" in line
    assert "has other settings than process 0" in line
    assert "optimizer.learning_rate 0.5 beside 0.007" in line
    assert not workdir.exists()


@pytest.mark.parametrize("handler", ["JsonCheckpointHandler", "StandardCheckpointHandler"])
def test_a_checkpoint_that_one_process_cannot_read_is_replaced_in_all(tmp_path, handler):
    port, folder = free_port(), tmp_path / "checkpoints"
    words = [sys.executable, "-W", "ignore", "-m", "tests.fixtures.read_apart", str(folder), str(port)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*words, str(i), handler], cwd=ROOT, **pipes) for i in range(2)]
    try:
        printed = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], printed
    for output, _ in printed:
        step, same, lines = json.loads(output.splitlines()[-1])
        assert (step, same) == (1, True)
        assert lines[0].startswith("checkpoint 2 is damaged (Stale file handle); using checkpoint 1 instead")
    assert sorted(path.name for path in folder.glob("*[0-9]")) == ["1", "damaged-2"]
