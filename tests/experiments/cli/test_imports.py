"""Claims about `--import`: a command imports modules that register rows before it reads its other flags."""

import sys

import pytest

from experiments.cli.flags import command_help, parse
from experiments.cli.imports import import_words
from experiments.data.sources.rows import FORMATS
from experiments.generate import GenerateFlags
from experiments.settings import find
from experiments.train import TrainFlags
from tests.fixtures.commands import error_of
from tests.fixtures.own_module import NAME, own_module
from transformer.decoding import STRATEGIES

__all__ = ["own_module"]

FLAGS = ["--config=x.py", "--workdir=x"]


@pytest.mark.parametrize("words", [[f"--import={NAME}"], ["--import", NAME], [f"--import=json,{NAME}"]])
def test_a_module_that_is_imported_registers_rows(words, own_module):
    assert "semicolons" not in FORMATS
    _, overrides = parse([*FLAGS, *words, "--config.data.files.format=semicolons"], TrainFlags)
    assert overrides == [("data.files.format", "semicolons")]
    assert FORMATS.module_of("semicolons") == NAME
    assert "semicolons" in find("data.files.format").allowed


def test_a_flag_of_the_command_itself_may_name_a_row_that_is_registered(own_module):
    own_module.write_text(
        "from transformer import register\n"
        "class First:\n"
        "    random = False\n"
        "    choose = staticmethod(lambda logits_BV, key: logits_BV[:, 0].astype('int32'))\n"
        "register('strategy', 'the_first', First)\n"
    )
    try:
        flags, _ = parse(["--workdir=x", f"--import={NAME}", "--strategy=the_first"], GenerateFlags)
    finally:
        STRATEGIES.remove("the_first")
    assert flags.given == {"strategy": "the_first"}


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


def test_the_words_by_which_another_command_imports_the_same_modules():
    assert import_words(["--config=x", "--import=a,b.c", "--import", "a", "--workdir=x"]) == ["--import=a,b.c"]
    assert import_words(["--config=x"]) == []


def test_help_names_the_flag_and_lists_own_settings_of_a_row_that_is_given(capsys, tmp_path):
    assert "--import=MODULE,..." in command_help(TrainFlags)
    start = "from experiments.settings import defaults\ndef get_config():\n    c = defaults()\n"
    row = "tests.fixtures.own_rows:straight"
    built_in = "--config.model.position=rotary_yarn"
    recipes = {"plain": "", "own": f"    c.model.position = '{row}'\n", "broken": "    c.model.nothing.width = 3\n"}
    for name, line in recipes.items():
        (tmp_path / f"{name}.py").write_text(f"{start}{line}    return c\n")
    for words, listed in (
        (["--help=model"], False),
        (["--help=model", f"--config.model.position={row}"], True),
        ([f"--config={tmp_path}/plain.py", "--help=model"], False),
        ([f"--config={tmp_path}/own.py", "--help=model"], True),
        ([f"--config={tmp_path}/own.py", "--config.model.position=alibi", "--help=model"], False),
        ([f"--config={tmp_path}/broken.py", "--help=model"], False),
    ):
        with pytest.raises(SystemExit):
            parse(words, TrainFlags)
        assert ("model.position_settings.slope" in capsys.readouterr().out) == listed
    with pytest.raises(SystemExit):
        parse(["--help=model", built_in], TrainFlags)
    printed = " ".join(capsys.readouterr().out.split())
    assert "model.position_settings.attention_factor" in printed
    assert "0.1 ln(factor) + 1" in printed
