"""The end of a command: a user's mistake is one line and exit code 2, a bug keeps its traceback."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli.explain import WHAT_TO_DO, explain
from experiments.cli.flags import run
from tests.fixtures.speeds import more
from transformer.errors import UserError

ROOT = Path(__file__).parents[3]


def exit_of(main, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        run(main, [])
    return caught.value.code, capsys.readouterr().err


def failing(error: BaseException):
    def main(argv):
        raise error

    return main


def test_a_users_mistake_is_one_line_and_code_2(capsys):
    assert exit_of(failing(UserError("no such thing")), capsys) == (2, "error: no such thing\n")


@pytest.mark.parametrize("number", WHAT_TO_DO, ids=errno.errorcode.get)
def test_a_full_or_forbidden_path_is_one_line_that_names_it(number, capsys):
    code, line = exit_of(failing(OSError(number, os.strerror(number), "/some/where")), capsys)
    assert code == 2
    assert line.count("\n") == 1
    assert "/some/where" in line
    assert os.strerror(number) in line


def test_a_full_disk_is_recognised_behind_the_error_that_it_caused():
    error = RuntimeError("the checkpoint was not written")
    error.__cause__ = OSError(errno.ENOSPC, "full", "/some/where")
    assert explain(error).startswith("/some/where: No space left on device.")
    assert explain(RuntimeError("of another kind")) is None


def test_a_full_disk_is_recognised_in_the_words_of_tensorstore():
    text = 'Error writing "a/0.0" in database at local file "/runs/x/": Failed to write 9 bytes to file 4: '
    line = explain(ValueError(f"{text}No space left on device [os_error_code='{errno.ENOSPC}']"))
    assert line == f"/runs/x/: No space left on device. {WHAT_TO_DO[errno.ENOSPC]}"
    assert explain(ValueError(f"{text}[os_error_code='{errno.ENOENT}']")) is None


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), FileNotFoundError(errno.ENOENT, "no", "y"), ValueError("z")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run(failing(error), [])


def test_exit_codes_are_passed_on(capsys):
    assert exit_of(lambda argv: None, capsys) == (0, "")
    assert exit_of(lambda argv: 3, capsys) == (3, "")
    assert exit_of(failing(SystemExit(143)), capsys) == (143, "")
    assert exit_of(failing(KeyboardInterrupt()), capsys) == (130, "")


@pytest.mark.parametrize("lines", [more(1), 100_000])
def test_a_reader_that_left_is_met_with_silence(lines):
    code = f"from experiments.cli.flags import run; run(lambda argv: print('line\\n' * {lines}), [])"
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-c", code]
    # Unbuffered output fails where it is printed, buffered output only when the program ends.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_mistake_on_a_real_command_line_shows_no_traceback():
    code = "from experiments.cli.flags import run; from experiments.settings import *\n"
    code += "run(lambda argv: resolve(load_recipe(argv[0]), [('model.widht', '8')]))"
    words = [sys.executable, "-c", code, "configs/dates.py"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown setting model.widht. Did you mean model.width?")
    assert done.stderr.count("\n") == 1
