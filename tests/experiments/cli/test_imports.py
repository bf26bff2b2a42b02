"""Claims about `--import`: a command imports modules that register rows before it reads its other flags."""

import sys

import pytest

from experiments.cli.flags import command_help, parse
from experiments.data.sources.rows import FORMATS
from experiments.settings import find
from experiments.train import TrainFlags
from tests.fixtures.commands import error_of
from tests.fixtures.own_module import NAME, own_module

__all__ = ["own_module"]

FLAGS = ["--config=x.py", "--workdir=x"]


@pytest.mark.parametrize("words", [[f"--import={NAME}"], ["--import", NAME], [f"--import=json,{NAME}"]])
def test_a_module_that_is_imported_registers_rows(words, own_module):
    assert "semicolons" not in FORMATS
    _, overrides = parse([*FLAGS, *words, "--config.data.files.format=semicolons"], TrainFlags)
    assert overrides == [("data.files.format", "semicolons")]
    assert FORMATS.module_of("semicolons") == NAME
    assert "semicolons" in find("data.files.format").allowed


def test_a_module_that_fails_is_one_line(own_module):
    message = error_of(parse, [*FLAGS, "--import=no_such_module_of_mine"], TrainFlags)
    assert "module 'no_such_module_of_mine' cannot be imported: ModuleNotFoundError" in message
    own_module.write_text("1 / 0")
    message = error_of(parse, [*FLAGS, f"--import={NAME}"], TrainFlags)
    assert f"module '{NAME}' cannot be imported: ZeroDivisionError: division by zero" in message
    assert "PYTHONPATH" in message
    assert NAME not in sys.modules


@pytest.mark.parametrize("words", [["--import"], ["--import="], ["--import", "--force"]])
def test_the_flag_needs_a_module(words):
    assert "--import needs a value; expected package.module" in error_of(parse, [*FLAGS, *words], TrainFlags)


def test_help_names_the_flag_and_lists_own_settings_of_a_row_that_is_given(capsys):
    assert "--import=MODULE,..." in command_help(TrainFlags)
    for words, listed in (
        (["--help=model"], False),
        (["--help=model", "--config.model.position=tests.fixtures.own_rows:straight"], True),
    ):
        with pytest.raises(SystemExit):
            parse(words, TrainFlags)
        assert ("model.position_settings.slope" in capsys.readouterr().out) == listed
