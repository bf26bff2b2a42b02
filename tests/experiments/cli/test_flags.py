"""Command lines: flags are read as meant, and every mistake is one line and exit code 2."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.cli.flags import REQUIRED, command_help, parse
from experiments.cli.help import described
from experiments.data.config import PATHS
from experiments.evaluate import EvaluateFlags
from experiments.settings import Config
from tests.fixtures.commands import error_of
from transformer import schema
from transformer.errors import UserError
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class Flags:
    """Does a thing.

    python -m experiments.thing --config=configs/dates.py --workdir=runs/thing
    """

    config: str = setting(REQUIRED, "the recipe, a Python file")
    workdir: str = setting(REQUIRED, "folder of the results")
    text: str | None = setting(None, "what is read")
    count: int = setting(3, "how many", check=at_least(1))
    overwrite: bool = setting(False, "start again")


GIVEN = ["--config=c.py", "--workdir=w"]


def flags_error(*words: str, **options) -> str:
    return error_of(parse, words, Flags, **options)


def test_flags_are_read_with_a_sign_or_a_space():
    signs = [*GIVEN, "--count=5", "--config.model.width=64", "--text=a=b"]
    spaces = [word for flag in signs for word in flag.split("=", 1)]
    expected = (Flags(config="c.py", workdir="w", count=5, text="a=b"), [("model.width", "64")])
    assert parse(signs, Flags) == parse(spaces, Flags) == expected


@given(st.permutations([*GIVEN, "--overwrite", "--count=5", "--config.seed=3"]))
def test_the_order_of_flags_does_not_matter(words):
    own, overrides = parse(words, Flags)
    assert own == Flags(config="c.py", workdir="w", overwrite=True, count=5)
    assert overrides == [("seed", "3")]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--overwrite"], True),
        (["--overwrite", "true"], True),
        (["--overwrite", "false"], False),
        (["--overwrite=false"], False),
        (["--overwrite=1"], True),
    ],
)
def test_a_flag_of_type_bool_may_stand_alone(words, value):
    assert parse([*words, *GIVEN], Flags)[0].overwrite is value
    assert parse([*GIVEN, *words], Flags)[0].overwrite is value


def test_of_a_flag_given_twice_the_last_value_counts_with_a_note(capsys):
    own, overrides = parse([*GIVEN, "--config.seed=1", "--count=5", "--workdir=v", "--config.seed", "2"], Flags)
    assert (own, overrides) == (Flags(config="c.py", workdir="v", count=5), [("seed", "2")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "note: --workdir is given twice; the last value counts: v",
        "note: --config.seed is given twice; the last value counts: 2",
    ]
    assert parse([*GIVEN, "--workdir=w"], Flags)[0].workdir == "w"
    assert parse([*GIVEN, "--count=many", "--count=5"], Flags)[0].count == 5
    assert "given twice" not in capsys.readouterr().err.partition("--count")[0]


def test_values_may_be_negative_empty_or_absent():
    assert parse([*GIVEN, "--config.seed", "-1"], Flags)[1] == [("seed", "-1")]
    assert parse([*GIVEN, "--text="], Flags)[0].text == ""
    assert parse([*GIVEN, "--text", "none"], Flags)[0].text is None
    assert parse([*GIVEN, "--text", "20 May"], Flags)[0].text == "20 May"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["--config (the recipe, a Python file)", "--workdir", "must be given", "Add --config=CONFIG"]),
        (["--config=c.py"], ["--workdir (folder of the results) must be given. Add --workdir=WORKDIR"]),
        (["--wrokdir=w"], ["unknown flag --wrokdir", "Did you mean --workdir?"]),
        (["--over-write"], ["unknown flag --over-write", "Did you mean --overwrite?"]),
        (["--steps=5"], ["unknown flag --steps", "Did you mean --config.training.steps?"]),
        (["--training.steps=5"], ["Did you mean --config.training.steps?"]),
        (["--qqq"], ["unknown flag --qqq", "--help lists all"]),
        (["--config.model.widht=5"], ["unknown setting model.widht", "Did you mean model.width?"]),
        (["--config.model"], ["model is a section", "--help=model"]),
        (["--config.model=big"], ["model is a section", "--help=model"]),
        (["--config.model.width"], ["--config.model.width needs a value", "int"]),
        (["--config.model.norm", "--count=5"], ["--config.model.norm needs a value", "layer, rms"]),
        (["--config.model.width", "=", "8"], ["--config.model.width", "without spaces"]),
        (["--config.model.width", "=8"], ["--config.model.width", "without spaces"]),
        (["--workdir"], ["--workdir needs a value", "--workdir=VALUE"]),
        (["--workdir="], ["--workdir needs a value"]),
        (["--count=many"], ["--count has the wrong type", "'many'", "int"]),
        (["--count=0"], ["--count is out of range", "0", "from 1 to 2^31 - 1"]),
        (["--overwrite=maybe"], ["--overwrite has the wrong type", "'maybe'", "true or false"]),
        (["configs/dates.py"], ["'configs/dates.py'", "Did you mean --config=configs/dates.py?"]),
        (["model.width=8"], ["'model.width=8'", "Did you mean --config.model.width=8?"]),
        (["-workdir=w"], ["'-workdir=w'", "Did you mean --workdir=w?"]),
        (["--text=20", "May"], ["'May' belongs to no flag", "quotes"]),
        (["--"], ["'--' belongs to no flag"]),
        (["--lr=1"], ["unknown flag --lr", "Did you mean --config.optimizer.learning_rate?"]),
        (["--sweep.seed=0:3"], ["unknown flag --sweep.seed", "experiments.sweep varies settings"]),
        (["--epochs=1"], ["Did you mean --config.training.steps?"]),
        (["--output_dir=x"], ["Did you mean --workdir?"]),
        (["--config.model.n_head=2"], ["unknown setting model.n_head. Did you mean model.num_heads?"]),
        (["config.model.width=8"], ["Did you mean --config.model.width=8?"]),
        (["\u2013\u2013count=5"], ["Did you mean --count=5?", "It holds \u2013", "type -"]),
        (["\u2014workdir=w"], ["Did you mean --workdir=w?", "It holds \u2014"]),
        (["--count=\u201c5\u201d"], ["--count has the wrong type", "It holds \u201c \u201d"]),
        (["--count", "5", "\u201cMay\u201d"], ["belongs to no flag", "It holds \u201c \u201d"]),
    ],
)
def test_the_error_of_a_wrong_command_line_names_what_was_meant(words, parts):
    line = flags_error(*words)
    for part in parts:
        assert part in line


@dataclasses.dataclass(frozen=True)
class WordFlags:
    """Does a thing to files."""

    files: tuple[str, ...] = setting(REQUIRED, "what is read")
    count: int = setting(3, "how many", check=at_least(1))
    quiet: bool = setting(False, "no output")


@dataclasses.dataclass(frozen=True)
class WordsAlone:
    """Takes files, or none."""

    files: tuple[str, ...] = setting((), "what is read")


def parse_words(*words: str, flags: type = WordFlags):
    return parse(words, flags, overridable=False, words="files")[0]


def test_commands_that_read_a_run_name_the_flag_of_its_directory_and_take_no_recipe(tmp_path):
    for word, says in (
        (str(tmp_path), f"Did you mean --workdir={tmp_path}?"),
        ("--config=configs/dates.py", "The config is that of the run in --workdir: leave it out."),
    ):
        with pytest.raises(UserError) as caught:
            parse([word], EvaluateFlags, overridable=PATHS)
        assert says in str(caught.value)


def test_words_stand_before_between_and_behind_flags():
    expected = WordFlags(files=("b", "a=1,2", "b"), count=5, quiet=True)
    assert parse_words("b", "--count", "5", "a=1,2", "--quiet", "b") == expected
    assert parse_words("--quiet", "b", "a=1,2", "b", "--count=5") == expected
    assert parse_words(flags=WordsAlone) == WordsAlone()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "FILES ... (what is read) must be given. Write them without a flag; see --help."),
        (["--count=5"], "FILES ... (what is read) must be given. Write them without a flag; see --help."),
        (["a", ""], "one of FILES ... is empty; expected what is read"),
        (["--files=a"], "unknown flag --files. FILES ... are written without a flag; --help lists all."),
        (["a", "--cuont=5"], "unknown flag --cuont. Did you mean --count? --help lists all."),
        (["a", "-count=5"], "'-count=5' belongs to no flag. Did you mean --count=5?"),
        (["a", "--count"], "--count needs a value; expected int (a whole number). Write --count=VALUE."),
    ],
)
def test_the_error_of_wrong_words_names_what_was_meant(words, line):
    with pytest.raises(UserError) as caught:
        parse_words(*words)
    assert str(caught.value) == line


@pytest.mark.parametrize("words", [["--help"], ["--help", "a"], ["a", "-h"]])
def test_help_lists_the_words_that_a_command_takes(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_words(*words)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "  FILES ...  what is read\n" in text
    assert "--count" in text
    assert "--files" not in text
    assert command_help(WordsAlone, False, "files") == "Takes files, or none.\n\n  FILES ...  what is read"


def test_a_command_without_config_refuses_overrides():
    assert "unknown flag --config.model.width" in flags_error(*GIVEN, "--config.model.width=8", overridable=False)
    assert "Did you mean --config.training" not in flags_error(*GIVEN, "--steps=8", overridable=False)
    assert "SECTION" not in command_help(Flags, overridable=False)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--wrokdir=w", "--help"], [*GIVEN, "--help"]])
def test_help_lists_own_flags_and_sections_whatever_else_is_given(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words, Flags)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("Does a thing.")
    for part in ("--workdir", "required", "folder of the results", "from 1 to 2^31 - 1", "optimizer", "--help=SECTION"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("words", [["--help=optimizer"], ["--help", "optimizer"], ["--help=config.optimizer"]])
def test_help_of_a_section_lists_its_settings(words, capsys):
    with pytest.raises(SystemExit):
        parse(words, Flags)
    text = capsys.readouterr().out
    assert "optimizer.learning_rate" in text
    assert "--workdir" not in text


def test_help_of_an_unknown_section_is_a_mistake_like_others():
    assert "Did you mean --help=optimizer?" in flags_error("--help=optimiser")


def test_help_names_the_architectures_of_a_condition_and_no_condition_twice():
    leaves = schema.settings(Config)
    lines = described(leaves["model.num_heads"])
    assert "in rnn_seq2seq only with model.recurrent.attention other than none" in lines
    assert "in a Transformer only with model.self_attention or model.cross_attention true" in lines
    for name, leaf in leaves.items():
        lines = described(leaf)
        assert len(lines) == len(set(lines)), name
