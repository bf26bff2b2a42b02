"""Optimizers and schedules from outside: by name, path and object, with settings of their own, and their errors."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.settings import defaults, resolve
from experiments.training.optimizers import OPTIMIZERS, optimizer, scheduled_rate
from experiments.training.schedules import SCHEDULES
from tests.fixtures import own_training
from tests.fixtures.configs import override_error
from tests.fixtures.hyper import hyper
from transformer.nn.parameter_axes import parse_axes
from transformer.tables import register

HERE = "tests.fixtures.own_training"
ROWS = {
    "name": (OPTIMIZERS, "averaged", own_training.averaged),
    "schedule": (SCHEDULES, "waves", own_training.waves),
}
"""Setting of section optimizer -> its table, a name in `tests.fixtures.own_training`, and what stands there."""


def with_row(setting, value, **settings):
    recipe = defaults()
    recipe.optimizer.update({setting: value, **settings})
    return resolve(recipe)


def numbers(config):
    """The direction of a second step, and the rate of step 7 of 20."""
    h = hyper(beta1=0.5, weight_decay=0.0, learning_rate=1.0, warmup_steps=0)
    transform = optimizer(config, h, {"x": parse_axes("D")})
    gradient = {"x": jnp.array([0.1, -0.2, 0.3])}
    _, state = transform.update(gradient, transform.init(gradient), gradient)
    direction, _ = transform.update({"x": gradient["x"] * 2}, state, gradient)
    return np.array([*direction["x"], scheduled_rate(config, h, jnp.array(7), 20)])


@pytest.mark.parametrize("setting", ROWS)
def test_a_row_works_by_name_path_and_object(setting):
    table, name, row = ROWS[setting]
    register(table.axis, name, row)
    try:
        made = [numbers(with_row(setting, value)[0].optimizer) for value in (name, f"{HERE}:{name}", row)]
    finally:
        table.remove(name)
    assert (made[0] == made[1]).all()
    assert (made[0] == made[2]).all()
    assert (made[0] != numbers(resolve(defaults())[0].optimizer)).any()


def test_own_settings_change_what_rows_compute():
    rows = (("optimizer.name", f"{HERE}:averaged"), ("optimizer.schedule", f"{HERE}:waves"))
    own = (("optimizer.name_settings.share", "0.5"), ("optimizer.schedule_settings.count", "1"))
    config = resolve(defaults(), [*rows, *own, ("optimizer.final_fraction", "0.5")])[0].optimizer
    # The mean is 0.05 after the first step and 0.125 after the second, whose gradient is 0.2.
    expected = [0.5 * (0.2 + 0.125), 0.5 * (-0.4 - 0.25), 0.5 * (0.6 + 0.375), 0.5 + 0.5 * np.cos(np.pi * 7 / 20) ** 2]
    np.testing.assert_allclose(numbers(config), expected, rtol=1e-5)


def test_a_plain_function_of_a_users_own_is_a_row_and_reads_all():
    config, notes = with_row("name", lambda config, h, axes: optax.scale_by_adam(h.beta1, h.beta2), beta2=0.5)
    assert notes == []
    assert config.optimizer.beta2 == 0.5
    config, _ = with_row("schedule", lambda at: 0.25)
    assert scheduled_rate(config.optimizer, hyper(warmup_steps=0, learning_rate=2.0), 3, 9) == 0.5


def test_what_a_row_does_not_state_that_it_reads_is_an_error_from_a_flag_and_left_out_of_a_recipe():
    error = override_error(("optimizer.name", f"{HERE}:averaged"), ("optimizer.beta2", "0.5"))
    assert f"optimizer.beta2 is not read by optimizer.name '{HERE}:averaged'; got 0.5" in error
    config, notes = with_row("schedule", own_training.waves, decay_fraction=0.5)
    assert config.optimizer.decay_fraction == 0.2
    assert [note.partition(":")[0] for note in notes] == ["optimizer.decay_fraction = 0.5 of the recipe is left out"]


BAD = {
    ("name", "with_a_rate"): "points uphill; expected a direction like the gradient's. Leave out the learning rate",
    ("name", "with_hyperparameters_in_its_state"): "keeps hyperparameters in its state",
    ("name", "of_another_shape"): "gives a direction of another shape or type; got {'matrix': 'float32[]'",
    ("name", "growing"): "changes the shape or type of its state",
    ("name", "branching"): "takes other arguments; got (at); expected a function of (config, hyperparameters, axes)",
    ("name", "Waves"): "takes other arguments; got (count: int = 3)",
    ("name", "waves"): "is a Schedule; expected a function of (config, hyperparameters, axes)",
    ("schedule", "branching"): "fails on a small example; got TracerBoolConversionError",
    ("schedule", "with_a_rate"): "takes other arguments",
    ("schedule", "HERE"): "cannot be imported: AttributeError",
    ("schedule", "Averaging"): "gave something else; got Averaging(share=",
}


@pytest.mark.parametrize(("setting", "name"), BAD, ids=range(len(BAD)))
def test_a_row_that_cannot_be_used_is_refused_before_training(setting, name):
    error = override_error((f"optimizer.{setting}", f"{HERE}:{name}"))
    assert error.startswith(f"optimizer.{setting} '{HERE}:{name}' ")
    assert BAD[setting, name] in error


def test_an_own_setting_that_no_row_has_is_an_error():
    flags = [("optimizer.name", f"{HERE}:averaged"), ("optimizer.name_settings.shares", "0.3")]
    assert "Did you mean optimizer.name_settings.share?" in override_error(*flags)
    assert "has no settings of its own" in override_error(("optimizer.schedule_settings.count", "3"))
