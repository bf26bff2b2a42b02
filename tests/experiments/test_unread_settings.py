"""Settings that are not read: an error where a flag gives one, left out and noted where a recipe does."""

import dataclasses
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.settings import OF_RECIPES, Config, defaults, resolve
from experiments.training.hyperparameters import Hyperparameters, hyperparameters
from experiments.training.optimizers import OPTIMIZERS, OptimizerConfig
from experiments.training.schedules import SCHEDULES, Moment
from tests.fixtures.configs import FUNCTIONS, LEAVES, override_error
from transformer import build, schema
from transformer.errors import UserError
from transformer.read_by import conditions, unread

CHOICES = {
    "model.architecture": LEAVES["model.architecture"].allowed,
    "model.position": LEAVES["model.position"].allowed,
    "task.name": LEAVES["task.name"].allowed,
    "optimizer.name": LEAVES["optimizer.name"].allowed,
    "optimizer.schedule": LEAVES["optimizer.schedule"].allowed,
    "data.source": LEAVES["data.source"].allowed,
    "decoding.strategy": LEAVES["decoding.strategy"].allowed,
    "training.batch_tokens": ("640",),
}
"""A setting -> the values with which others may not be read."""


def config_with(choice: str, row: str) -> Config:
    section, _, name = choice.partition(".")
    return schema.from_dict(Config, {section: {name: schema.parse(row, LEAVES[choice])}})


UNREAD = [
    (choice, row, name)
    for choice, rows in CHOICES.items()
    for row in rows
    for name, found in unread(config_with(choice, row)).items()
    if row in found.who.replace("'", " ").split() and not name.startswith("tokenizer.")
]
"""(a setting, its value, a setting that is not read with it)."""


def another(name: str):
    """A value of the setting that is not its default."""
    leaf = LEAVES[name]
    if name in FUNCTIONS:
        return (FUNCTIONS[name],) if leaf.is_tuple else FUNCTIONS[name]
    if leaf.allowed is not None:
        return next(value for value in leaf.allowed if value != leaf.default)
    if leaf.is_tuple:
        return (leaf.default or ("x",))[:1]
    values = {bool: (not leaf.default,), float: (0.5, 5.0), int: (3, 6), str: ("x",)}[leaf.part_type]
    return next(value for value in values if leaf.check is None or leaf.check(value) is None)


UNREAD_BY = {
    (choice, row): [name for *by, name in UNREAD if by == [choice, row]] for choice, row in {x[:2]: 0 for x in UNREAD}
}
"""(a setting, its value) -> the settings that are not read with it."""


def wrongly_answered(choice, row, name, value):
    """List the faults of the error of a flag that is not read."""
    try:
        resolve(defaults(), [(choice, row), (name, schema.show(value))])
    except UserError as error:
        line = str(error)
        row_named = row in line or name.startswith("data.files.")  # which the source of the recipe reads as little
        if f"{name} is not read by " in line and row_named and "expected it only with " in line and "\n" not in line:
            return []
        return [f"{name}={value} with {choice}={row}: {line}"]
    return [f"{name}={value} with {choice}={row}: no error"]


def test_a_flag_that_is_not_read_is_an_error_even_at_its_default():
    """Each row with one of its settings, and each setting with one of its rows; all of them in `make test-more`."""
    firsts = {by: names[0] for by, names in UNREAD_BY.items()}
    few = {(*by, name): LEAVES[name].default for by, name in firsts.items()}
    others = {name: (choice, row, name) for choice, row, name in reversed(UNREAD)}
    few |= {case: another(case[2]) for case in others.values() if case not in few}
    assert list(itertools.chain(*(wrongly_answered(*case, value) for case, value in few.items()))) == []


@pytest.mark.more
def test_every_flag_that_is_not_read_is_an_error_even_at_its_default():
    values = {name: (another(name), LEAVES[name].default) for *_, name in UNREAD}
    found = (wrongly_answered(*case, value) for case in UNREAD for value in values[case[2]])
    assert list(itertools.chain(*found)) == []


def test_a_recipes_settings_that_are_not_read_are_left_out_and_noted():
    plain, offenders = schema.flatten(schema.to_dict(Config())), []
    for (choice, row), names in UNREAD_BY.items():
        recipe = defaults()
        for name in names:
            section = recipe
            *path, last = name.split(".")
            for part in path:
                section = section[part]
            section[last] = another(name)
        config, notes = resolve(recipe, [(choice, row)])
        found = schema.flatten(schema.to_dict(config))
        noted = [name for name in names if another(name) != OF_RECIPES.get(name)]
        expected = {f"{name} = {schema.show(another(name))} of the recipe is left out" for name in noted}
        offenders += [(choice, row, name) for name in names if found[name] != plain[name]]
        offenders += expected ^ {note.rpartition(": ")[0] for note in notes}
        offenders += ["a note twice"] * (len(notes) != len(noted))
    assert offenders == []


def test_each_condition_names_settings_and_some_of_their_values():
    for name, found in conditions(Config()):
        for condition in found:
            assert all(other in LEAVES or other in schema.sections(Config) for other in condition.names)
            if len(condition.names) > 1 or LEAVES[condition.names[0]].allowed is None:
                continue
            values = LEAVES[condition.names[0]].allowed
            assert {condition.holds(value) for value in values} == {True, False}, name
            assert set(condition.expected.split(", ")) <= set(values), name


def test_no_list_beside_the_fields_names_what_is_read():
    root = Path(__file__).parents[2]
    paths = [path for folder in ("transformer", "experiments") for path in (root / folder).rglob("*.py")]
    assert not [path for path in paths if re.search(r"^\w*(READS|UNREAD)\b", path.read_text(), re.MULTILINE)]


def recorder(base: type, values: object) -> tuple[object, set[str]]:
    """An object with the attributes of another, and the set of those that are read."""
    read = set()

    class Recorder(base):
        def __getattribute__(self, name):
            read.add(name)
            return super().__getattribute__(name)

    return Recorder(*values) if isinstance(values, tuple) else Recorder(**vars(values)), read


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_reads_the_settings_whose_conditions_name_it(optimizer):
    config = dataclasses.replace(Config(), optimizer=OptimizerConfig(name=optimizer))
    values, read = recorder(Hyperparameters, hyperparameters(config))
    own, read_too = recorder(OptimizerConfig, config.optimizer)
    model = build({"architecture": "encoder_only", "vocab_size": 5, "num_layers": 1, "width": 4, "num_heads": 1})
    params = model.init(jax.random.key(0))
    chain = OPTIMIZERS[optimizer].function(own, values, model.parameter_axes(params))
    jax.eval_shape(lambda p: chain.update(p, chain.init(p), p), params)
    some = {"beta1", "beta2", "epsilon"}
    not_read = unread(config.optimizer, "optimizer")
    assert (read | read_too) & some == {name for name in some if f"optimizer.{name}" not in not_read}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_reads_the_settings_whose_conditions_name_it(schedule):
    moment, read = recorder(Moment, tuple(map(jnp.float32, (3, 1, 9, 0.5, 0.2))))
    SCHEDULES[schedule].function(moment)
    settings_of = {"final": "optimizer.final_fraction", "decay_fraction": "optimizer.decay_fraction"}
    not_read = unread(OptimizerConfig(schedule=schedule), "optimizer")
    assert {settings_of[n] for n in read & set(settings_of)} == set(settings_of.values()) - set(not_read)


def test_what_follows_from_the_tables_is_what_users_meet():
    """Some rows by hand, since the tests above read the same tables as the code."""
    for flags, name in [
        ({"optimizer.name": "sgd"}, "optimizer.beta2=0.9"),
        ({"optimizer.name": "adafactor"}, "optimizer.beta1=0.8"),
        ({}, "optimizer.decay_fraction=0.1"),
        ({"optimizer.schedule": "constant"}, "optimizer.final_fraction=0.1"),
        ({"data.source": "files"}, "data.examples=9"),
        ({"data.source": "files"}, "data.dates.first_year=2001"),
        ({"data.source": "source_code"}, "data.files.test_share=0.1"),
        ({}, "data.path=x"),
        ({}, "model.remat_policy=all_but_products"),
        ({"model.architecture": "rnn_seq2seq"}, "model.kernels=fast"),
        ({"data.source": "files"}, "data.files.label_field=x"),
        ({}, "model.class_head.reads=mean"),
        ({"task.name": "classification"}, "decoding.max_new_tokens=3"),
        ({"task.name": "language_modelling"}, "data.num_buckets=3"),
    ]:
        given_name, _, value = name.partition("=")
        assert f"{given_name} is not read by " in override_error(*flags.items(), (given_name, value))
    continuation = {"task.name": "language_modelling", "task.objective": "continuation", "data.num_buckets": "3"}
    assert resolve(defaults(), continuation.items())[1] == []
