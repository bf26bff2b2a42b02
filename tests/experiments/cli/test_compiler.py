"""Claims about the guard against a wrong compiler: when it sets a flag, and when it does not."""

import os
import subprocess
import sys

import jax
import jaxlib
import pytest

from experiments import api
from experiments.cli import compiler
from experiments.cli.compiler import FAULTS, Fault, backend_has_started, guard, has_flag, missing
from experiments.cli.flags import run

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
OTHER = "--xla_cpu_enable_fast_math=false"


@pytest.fixture
def fresh(monkeypatch):
    """A process of jaxlib 0.10.2 that has computed nothing and has no flags."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compiler, "backend_has_started", lambda: False)
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    return monkeypatch


def test_the_flag_is_added_to_those_of_the_user_once(fresh):
    assert guard() is None
    assert os.environ["XLA_FLAGS"] == FLAG
    fresh.setenv("XLA_FLAGS", OTHER)
    assert guard() is None
    assert guard() is None
    assert os.environ["XLA_FLAGS"] == f"{OTHER} {FLAG}"


@pytest.mark.parametrize("value", ["individual_dot", ""])
def test_a_value_of_the_users_own_stays(fresh, value):
    fresh.setenv("XLA_FLAGS", f"{FLAG}{value} {OTHER}")
    assert guard() is None
    assert os.environ["XLA_FLAGS"] == f"{FLAG}{value} {OTHER}"


def test_a_version_from_the_first_wrong_one_to_the_next_right_one_gets_the_flag(monkeypatch):
    wrong = [version for version in ("0.9.2", "0.10.1", "0.10.2", "0.10.10", "1.0.0.dev1") if missing("", version)]
    assert wrong == ["0.10.2", "0.10.10", "1.0.0.dev1"]
    monkeypatch.setattr(compiler, "FAULTS", (FAULTS[0]._replace(right=(0, 10, 10)),))
    assert [version for version in wrong if missing("", version)] == ["0.10.2"]


def test_a_flag_that_xla_does_not_have_is_not_set(monkeypatch):
    """XLA aborts the process for it."""
    assert has_flag(FAULTS[0].flag)
    assert not has_flag("xla_cpu_no_such_flag_at_all")
    gone = Fault((0, 10, 2), None, "xla_cpu_no_such_flag_at_all", "", "nothing")
    monkeypatch.setattr(compiler, "FAULTS", (gone,))
    assert missing("", "0.10.2") == []


def test_where_jax_has_computed_already_nothing_is_set_and_one_line_gives_the_flag_and_its_reason(fresh, tmp_path):
    fresh.setattr(compiler, "backend_has_started", backend_has_started)
    jax.numpy.ones(1).block_until_ready()
    line = guard()
    for part in ("jaxlib 0.10.2", "JAX issue 39103", "JAX has computed already", f"XLA_FLAGS={FLAG}"):
        assert part in line
    assert "\n" not in line
    assert "XLA_FLAGS" not in os.environ
    with pytest.warns(UserWarning, match="JAX has computed already"), pytest.raises(api.UserError):
        api.open_run(tmp_path)


CALLS = {
    "train": lambda: api.train("no recipe", workdir="x"),
    "open_run": lambda: api.open_run("no run"),
    "fit": lambda: api.fit(None, None, steps=1),
    "sweep": lambda: api.sweep("no recipe", workdir="x"),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_compute_set_the_flag_before_anything_else(name, fresh):
    with pytest.raises(api.UserError):
        CALLS[name]()
    assert os.environ["XLA_FLAGS"] == FLAG


def test_a_file_that_xla_flags_name_is_left_to_the_user(fresh, tmp_path, capsys):
    fresh.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    with pytest.raises(SystemExit):
        run(lambda _: None, [])
    assert os.environ["XLA_FLAGS"] == str(tmp_path / "flags")
    error = capsys.readouterr().err
    assert error.startswith("note: ")
    assert f"XLA_FLAGS names a file. Add it to that file: XLA_FLAGS={FLAG}" in error


def test_an_accelerator_that_has_started_needs_no_flag_of_the_cpu(fresh):
    fresh.setattr(compiler, "backend_has_started", lambda: True)
    fresh.setattr(jax, "default_backend", lambda: "gpu")
    assert guard() is None


def test_nothing_is_set_on_import():
    code = (
        "import os, transformer, experiments, experiments.api, experiments.train; from experiments.cli import compiler;"
        "assert 'XLA_FLAGS' not in os.environ; assert not compiler.backend_has_started();"
        "assert compiler.guard() is None; import jax; jax.devices(); assert compiler.backend_has_started()"
    )
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
