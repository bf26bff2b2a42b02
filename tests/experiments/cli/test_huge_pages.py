"""A command starts once more with huge pages, once, and only where nothing else is asked of the allocator."""

import os
import subprocess
import sys

import pytest

from experiments.cli import huge_pages
from tests.fixtures.speeds import more

COMMAND = ["python", "-m", "experiments.train", "--help"]


@pytest.fixture
def restarted(monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execv", lambda *call: calls.append(call))
    monkeypatch.setattr(sys, "orig_argv", COMMAND)
    monkeypatch.setattr(sys, "platform", "linux")
    return calls


def test_a_command_starts_again_with_the_same_words(restarted, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    huge_pages.restart_with_huge_pages()
    huge_pages.restart_with_huge_pages()  # the second process has the variable
    assert restarted == [(sys.executable, [sys.executable, *COMMAND[1:]])]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("value", ["", "glibc.malloc.check=3"])
def test_a_variable_of_the_users_own_stays(restarted, monkeypatch, value):
    monkeypatch.setenv("GLIBC_TUNABLES", value)
    huge_pages.restart_with_huge_pages()
    assert not restarted
    assert os.environ["GLIBC_TUNABLES"] == value


def test_other_systems_start_once(restarted, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    huge_pages.restart_with_huge_pages()
    assert not restarted


@more
@pytest.mark.parametrize(
    ("words", "restarts"), [(["-m", "experiments.plan", "--help"], True), (["-c", "import experiments"], False)]
)
def test_only_commands_start_again(tmp_path, words, restarts):
    (tmp_path / "sitecustomize.py").write_text("import os\nprint('started', os.environ.get('GLIBC_TUNABLES'))\n")
    env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{os.getcwd()}"
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.count("started") == 1 + restarts
    assert ("started glibc.malloc.hugetlb=1" in done.stdout) == restarts
