"""Own settings of the project's own rows: each changes what its row computes, and reaches it from a config."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.arrays import normal, query_key_value
from tests.fixtures.tiny import SIZES
from transformer import schema
from transformer.errors import UserError
from transformer.models.config import ModelConfig
from transformer.nn.positions import POSITIONS
from transformer.ops.positions import scaled_base
from transformer.ops.scores import SCORES
from transformer.ops.scoring import raw_scores

X, AT = normal(0, 1, 3, 2, 32), jnp.array([0, 5, 300])


def scores_of(row):
    return raw_scores(*query_key_value()[:2], row)


def rotated_by(row):
    return row.rotates(X, AT, 1e4, **row.own)


COMPUTED = {("score", name): (SCORES[name], scores_of) for name in ("fixed_dot",)} | {
    ("position", name): (POSITIONS[name], rotated_by) for name in ("rotary_linear", "rotary_llama3", "rotary_yarn")
}
"""Setting and row -> the row, and what it computes."""
CASES = [(*names, field.name) for names, (row, _) in COMPUTED.items() for field in dataclasses.fields(row.settings)]


def another(value):
    return (
        0.7
        if value is None
        else not value
        if isinstance(value, bool)
        else type(value)(value * 4)
        if isinstance(value, int)
        else value * 1.5
    )


def test_every_row_with_settings_is_tried():
    tables = {leaf.name: leaf.table for leaf in schema.settings(ModelConfig).values() if leaf.table is not None}
    found = {(name, row) for name, table in tables.items() for row in table if table[row].settings is not None}
    assert found - {("recurrent.attention", "fixed_dot")} == set(COMPUTED)


@pytest.mark.parametrize(("axis", "name", "setting"), CASES)
def test_every_own_setting_changes_what_its_row_computes(axis, name, setting):
    row, compute = COMPUTED[axis, name]
    other = dataclasses.replace(row.settings, **{setting: another(getattr(row.settings, setting))})
    found = np.abs(compute(dataclasses.replace(row, settings=other)) - compute(row)).max()
    assert found > 1e-3


@pytest.mark.parametrize(("axis", "name"), COMPUTED)
def test_own_settings_and_the_scaled_base_reach_a_row_from_a_config(axis, name):
    row, _ = COMPUTED[axis, name]
    setting, part = dataclasses.fields(row.settings)[0].name, "rotates" if axis == "position" else "function"
    given = []

    def noting(*values, settings):
        given.append((getattr(settings, setting), values[2] if axis == "position" else None))
        return getattr(row, part)(*values, settings=settings)

    more = {"rotary_base": 500.0, "rotary_scale": 3.0} if axis == "position" else {}
    values = {**SIZES, "architecture": "decoder_only", "num_layers": 1, **more}
    own = {axis: dataclasses.replace(row, **{part: noting}), f"{axis}_settings": {setting: 7.5}}
    model = transformer.build({**values, **own})
    given.clear()
    jax.eval_shape(model.apply, model.parameter_shapes, {"target": jnp.ones((2, 3), int)})
    assert set(given) == {(7.5, scaled_base(500.0, 3.0, SIZES["head_width"]) if more else None)}
    with pytest.raises(UserError, match=rf"model.{axis}_settings.{setting} is out of range; got -1.0"):
        transformer.build({**values, axis: name, f"{axis}_settings": {setting: -1.0}})


@pytest.mark.parametrize("name", [name for name in POSITIONS if name.startswith("rotary_")])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"head_width": 5}, "rotate pairs of entries; got head_width 5; expected even"),
        ({"attention": {"differential": True}}, "each half of a head.*head_width 6; expected a multiple of 4"),
        ({"score": "position_only"}, "positions that rotate queries and keys change nothing"),
    ],
)
def test_what_contradicts_rotary_positions_contradicts_those_of_longer_sequences(name, settings, says):
    with pytest.raises(UserError, match=says):
        transformer.build({**SIZES, "architecture": "decoder_only", "position": name, **settings})
