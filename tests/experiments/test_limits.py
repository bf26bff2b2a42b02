"""Limits of what a user gives: a number has a range, a text a length, and memory is asked for before it is taken."""

import errno
import gzip
import importlib
import math
import time
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from experiments import bench, plan, settings, sweep, train
from experiments.costs.memory import memory_of
from experiments.costs.needed import update_memory
from experiments.data import machine
from experiments.data.sources import reading
from experiments.studies.table import STUDIES
from experiments.training.experiment import set_up
from tests.fixtures.commands import error_of, fails
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES
from tests.test_imports import COMMANDS
from transformer import schema
from transformer.errors import UserError
from transformer.schema import Setting


def schemas() -> dict[str, type]:
    """The config, the flags of every command, and the settings of every study, by name."""
    modules = [importlib.import_module(f"experiments.{name}") for name in COMMANDS.split()]
    flags = [value for module in modules for name, value in vars(module).items() if name.endswith("Flags")]
    return {kind.__name__: kind for kind in (settings.Config, *flags, *(study.settings for study in STUDIES.values()))}


NUMBERS = {
    f"{owner}: {name}": leaf
    for owner, kind in schemas().items()
    for name, leaf in schema.settings(kind).items()
    if leaf.part_type in (int, float)
}
"""Every setting that is a number, or a list of them."""

BEYOND = [10**400, -(10**400), 2**63, -(2**63)]
NOT_FINITE = [math.nan, math.inf, -math.inf]


def refused(leaf: Setting, value) -> bool:
    """True where a value, in a recipe and as the text of a flag, is an error that names the setting and its range."""
    expected = (leaf.check.expected, leaf.expected_type)
    by_flag = error_of(lambda: schema.checked(schema.parse(schema.show(value), leaf), leaf))
    by_recipe = error_of(schema.checked, (value,) if leaf.is_tuple else value, leaf)
    return all(leaf.name in error and any(words in error for words in expected) for error in (by_flag, by_recipe))


def test_commands_and_studies_are_walked_through():
    assert len(NUMBERS) > 130
    owners = {"Config: model.width", "VerifyFlags: verify_steps", "SweepBenchFlags: rounds", "LadderSettings: updates"}
    assert owners <= {*NUMBERS}


def test_every_number_has_a_range_that_help_prints():
    without = [name for name, leaf in NUMBERS.items() if getattr(leaf.check, "bounds", None) is None]
    assert not without
    for name, leaf in NUMBERS.items():
        low, high = leaf.check.bounds
        assert -(2**31) <= low < high <= max(2**32 - 1, 1e12), name
        assert schema.in_words(high) in leaf.check.expected, name
        assert high <= 2**31 - 1 or leaf.part_type is float or name.endswith(("seed", "seeds")), name


def test_what_lies_outside_a_range_is_refused_with_the_range_in_words():
    for name, leaf in NUMBERS.items():
        low, high = leaf.check.bounds
        if leaf.part_type is int:
            outside = [low - 1, high + 1, *BEYOND]
        else:
            outside = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), *BEYOND, *NOT_FINITE]
        assert not [value for value in outside if not refused(leaf, value)], name


def test_defaults_and_bounds_are_inside_their_ranges():
    for name, leaf in NUMBERS.items():
        if isinstance(leaf.default, int | float | tuple):
            assert schema.checked(leaf.default, leaf) == leaf.default, name
        if not leaf.is_tuple:
            for bound in leaf.check.bounds:
                assert leaf.check(leaf.part_type(bound)) is None, name


def test_lists_are_refused_for_one_part_that_is_outside():
    leaves = {name: leaf for name, leaf in NUMBERS.items() if leaf.listed or leaf.is_tuple}
    assert {"Config: model.window", "Config: model.rotary_base", "DependenceSettings: seeds"} <= {*leaves}
    for leaf in leaves.values():
        high = leaf.check.bounds[1]
        for text in ("nan", "inf", f"{2**63}", "1e300"):
            with pytest.raises(UserError, match=leaf.name):
                schema.checked(schema.parse(f"{high},{text}", leaf), leaf)
        with pytest.raises(UserError, match=leaf.name):
            schema.checked((leaf.part_type(high), 10**5000), leaf)


def test_a_number_of_more_digits_than_python_writes_is_refused_in_words():
    for name in ("model.width", "optimizer.learning_rate", "model.window", "model.score"):
        section, _, last = name.partition(".")
        with pytest.raises(UserError, match=name):
            settings.resolve(ConfigDict({section: {last: 10**5000}}))


# Memory

TINY = f"--config={Path(__file__).parents[1] / 'fixtures' / 'tiny_recipe.py'}"
FLAT = [
    "--config.training.accumulation=1",
    "--config.data.num_buckets=1",
    "--config.model.architecture=decoder_only",  # the quickest to trace
]

BEYOND_THE_MACHINE = {
    "width": (["--config.model.width=999999"], ["parameters", "optimizer state", "averaged parameters", "gradients"]),
    "vocabulary": (["--config.model.vocab_size=2000000000"], ["parameters"]),
    "layers": (["--config.model.num_layers=10000", "--config.model.width=9000"], ["Lower model.width"]),
    "head width": (["--config.model.head_width=1000000", "--config.model.num_heads=1000000"], ["parameters"]),
    "answers": (["--config.decoding.max_new_tokens=2000000000"], ["2,000,000,000 tokens", "--max_new_tokens"]),
    "examples": (["--config.data.examples=2000000000"], ["the drawn data", "data.examples"]),
    "held-out examples": (["--config.data.evaluation_examples=2000000000"], ["the drawn data"]),
}


def fails_in_one_line(main, argv: list[str], capsys) -> str:
    """Return the line that a command prints as it exits with code 2."""
    error = fails(main, argv, capsys)
    assert error.count("\n") == 1
    assert len(error) <= 2020
    return error


@pytest.mark.parametrize("size", BEYOND_THE_MACHINE)
def test_what_does_not_fit_in_memory_is_refused_before_anything_is_written_or_compiled(size, tmp_path, capsys):
    flags, parts = BEYOND_THE_MACHINE[size]
    began = time.process_time()
    error = fails_in_one_line(train.main, [TINY, *FLAT, *flags, f"--workdir={tmp_path / 'run'}"], capsys)
    assert time.process_time() - began < 10
    for part in ("does not fit in memory; got", "GB or more; expected at most", *parts):
        assert part in error, error
    assert not (tmp_path / "run").exists()


def test_a_sweep_and_a_benchmark_ask_for_memory_before_they_start(tmp_path, capsys):
    wide = [TINY, *FLAT, "--config.model.width=999999"]
    sweep_flags = [*wide, f"--workdir={tmp_path / 'sweep'}", "--sweep.optimizer.learning_rate=1e-3,1e-2"]
    assert " (parameters" in fails_in_one_line(sweep.main, sweep_flags, capsys)
    later = [TINY, *FLAT, f"--workdir={tmp_path / 'sweep'}", "--sweep.model.width=12,999999"]
    error = fails_in_one_line(sweep.main, later, capsys)
    assert "in the sweep, at model.width=999999: " in error
    assert " (parameters" in error
    many = [*later[:-2], "--config.model.width=8190", f"--workdir={tmp_path / 'sweep'}", "--sweep.seed=0:64"]
    assert "a program of 64 trials (parameters" in fails_in_one_line(sweep.main, [*many, "--lanes=1000000"], capsys)
    assert "this run (parameters" in fails_in_one_line(bench.main, wide, capsys)
    assert not list(tmp_path.iterdir())


def test_the_plan_of_what_does_not_fit_is_printed_without_compiling(monkeypatch, capsys):
    monkeypatch.setattr(jax.stages.Lowered, "compile", None)
    monkeypatch.setattr(plan, "use_compilation_cache", lambda: None)
    plan.main([TINY, *FLAT, "--config.model.width=999999"])
    out = capsys.readouterr().out
    assert "memory of that update, at least" in out
    assert "does not fit: " in out
    assert "optimizer state" in out


class PassedError(Exception):
    """Error that a test puts where a run would be written."""


def test_force_goes_on(monkeypatch, tmp_path):
    def passed(*_, **__):
        raise PassedError

    monkeypatch.setattr("experiments.runs.session.open_workdir", passed)
    with pytest.raises(PassedError):
        train.main([TINY, *FLAT, "--config.model.width=999999", f"--workdir={tmp_path / 'run'}", "--force"])


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name == "decoder_only"))
def test_the_least_memory_is_below_what_the_compiled_update_takes(architecture):
    """Else a run that fits would be refused; and not far below, or one that does not would not be."""
    sizes = {"model.width": "48", "training.batch_size": "200", "training.accumulation": "1", "data.num_buckets": "1"}
    given = {**sizes, "model.architecture": architecture}
    experiment = set_up(settings.resolve(settings.load_recipe(TINY.partition("=")[2]), given.items())[0])
    _, first = experiment.largest_batch()
    arguments = experiment.state_shapes, experiment.task.batches.at(first), experiment.hyperparameters
    peak = memory_of(experiment.update().lower(*arguments).compile()).peak
    share = 0.01 if architecture == "rnn_seq2seq" else 0.15
    assert share * peak < sum(update_memory(experiment).values()) < peak


GROUPS = {
    "version 2, own limit": ("0::/a/b\n", {"a/b": ("1000", "300", "inactive_file 100")}, 2, 800),
    "version 2, limit above": ("0::/a/b\n", {"a/b": ("max", "300", ""), "a": ("900", "400", "")}, 2, 500),
    "version 2, none": ("0::/a\n", {"a": ("max", "300", "")}, 2, None),
    "version 1": ("4:cpu:/x\n3:memory:/x\n0::/\n", {"memory/x": ("700", "500", "total_inactive_file 50")}, 1, 250),
    "version 1 in a container": ("3:memory:/docker/1\n", {"memory": ("700", "500", "inactive_file 9")}, 1, 200),
}


@pytest.mark.parametrize("case", GROUPS)
def test_the_limits_of_control_groups_count(case, tmp_path):
    membership, groups, version, free = GROUPS[case]
    (tmp_path / "own").write_text(membership)
    for name, contents in groups.items():
        (tmp_path / "mount" / name).mkdir(parents=True, exist_ok=True)
        for file, text in zip((*machine.LIMITS[version][:2], "memory.stat"), contents, strict=True):
            (tmp_path / "mount" / name / file).write_text(f"{text}\n" if text else "")
    assert machine.of_groups(tmp_path / "own", tmp_path / "mount") == free


def test_the_memory_of_the_machine_is_the_least_that_is_left(monkeypatch, tmp_path):
    assert 1e7 < machine.free_memory() < 1e14
    monkeypatch.setattr(machine, "of_groups", lambda *_: 12345)
    assert machine.free_memory() == 12345


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_a_file_that_is_larger_than_the_memory_is_refused_while_it_is_read(name, monkeypatch, tmp_path, capsys):
    """A gzip of 100 kB unfolds into 30 MB."""
    path, content = tmp_path / name, b"a b c d e\n" * 3_000_000
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    monkeypatch.setattr(reading, "free_memory", lambda: 20_000_000)
    recipe = [TINY, "--config.task.name=language_modelling", "--config.model.architecture=decoder_only"]
    flags = [*recipe, "--config.data.source=files", f"--config.data.path={path}", f"--workdir={tmp_path / 'run'}"]
    error = fails_in_one_line(train.main, flags, capsys)
    assert f"{path}{' once it is unpacked' if name.endswith('.gz') else ''} does not fit in memory" in error
    assert "got 5.2 MB or more; expected at most 5.0 MB" in error
    assert not (tmp_path / "run").exists()


# Texts

LONG = "x" * 200_000
MODELLING = ["--config.task.name=language_modelling", "--config.model.architecture=decoder_only"]
LABELS = ["--config.task.name=classification", "--config.model.architecture=encoder_only"]
LINES = "good\tx y\nbad\tz\n" * 30

LONG_TEXTS = {
    "a flag's value": ({}, [f"--config.model.norm={LONG}"], "model.norm"),
    "a flag's name": ({}, [f"--{LONG}=3"], "unknown flag"),
    "a setting's name": ({}, [f"--config.model.{LONG}=3"], "unknown setting"),
    "a word": ({}, [LONG], "belongs to no flag"),
    "digits": ({}, [f"--config.seed={'9' * 5000}"], "seed"),
    "a list of numbers": ({}, [f"--config.model.window={'1,' * 100_000}x"], "model.window"),
    "a dotted path": ({}, [f"--config.model.score={LONG}:{LONG}"], "cannot be imported"),
    "a list of locales": ({}, [f"--config.data.dates.locales={'de,' * 1000}{LONG}"], "locales"),
    "a file's name": ({}, [*MODELLING, "--config.data.source=files", f"--config.data.path={LONG}"], "cannot be read"),
    "a recipe's name": ({}, [f"--config={LONG}.py"], "Choose a shorter path"),
    "a line without a tab": ({"a.tsv": LONG}, LABELS, "no tab"),
    "a class name": ({"a.tsv": LINES, "v.tsv": f"{LONG}\tx\n"}, LABELS, "never seen in training"),
    "many class names": ({"a.tsv": LINES, "v.tsv": "".join(f"c{i}\tx\n" for i in range(50_000))}, LABELS, "training"),
    "fields": ({"a.jsonl": str({f"f{i}": 1 for i in range(200_000)}).replace("'", '"')}, MODELLING, "no field 'text'"),
    "a field's name": ({"a.jsonl": f'{{"{LONG}": 1}}'}, MODELLING, "no field 'text'"),
    "brackets in brackets": ({"a.jsonl": "[" * 100_000}, MODELLING, "not JSON"),
    "objects in objects": ({"a.jsonl": '{"a":' * 100_000}, MODELLING, "not JSON"),
    "a number in JSON": ({"a.jsonl": f'{{"text": {"9" * 5000}}}'}, MODELLING, "not JSON"),
    "columns": ({"a.tsv": f"x{chr(9) * 200_000}y\n"}, [], "more than two columns"),
}


@pytest.mark.parametrize("text", LONG_TEXTS)
def test_a_long_text_gives_a_short_message_soon(text, tmp_path, capsys):
    contents, flags, part = LONG_TEXTS[text]
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    names = {"a": "path", "v": "validation_path"}
    data = [f"--config.data.{names[name[0]]}={tmp_path / name}" for name in contents]
    data = [*data, "--config.data.source=files"] if data else []
    config = [] if any(flag.startswith("--config=") for flag in flags) else [TINY]
    began = time.process_time()
    error = fails_in_one_line(train.main, [*config, *flags, *data, f"--workdir={tmp_path / 'run'}"], capsys)
    assert part in error, error
    assert time.process_time() - began < 10
    assert not (tmp_path / "run").exists()


def test_a_message_of_the_system_is_short_too(capsys):
    def fail(_):
        raise OSError(errno.ENAMETOOLONG, "File name too long", LONG)

    assert "Choose a shorter path" in fails_in_one_line(fail, [], capsys)
