"""Meshes and the table of rules: what each device has, and the error of each mesh that does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from experiments import settings
from experiments.cli.recipes import load_recipe
from experiments.comparing import configs
from experiments.parallel.config import AXES, MeshConfig, mesh_devices
from experiments.parallel.mesh import mesh_of
from experiments.parallel.placement import Placement
from experiments.parallel.rules import LETTERS, spec_of_parameter, spec_of_site
from experiments.sweeping.search import make_sweep
from tests.fixtures.tiny import what_is_read
from transformer import build
from transformer.errors import UserError
from transformer.nn.parameter_axes import sizes

SMALL = {"vocab_size": 12, "width": 8, "num_heads": 4, "num_layers": 1, "architecture": "decoder_only"}
BATCH = {"target": jnp.ones((4, 6), jnp.int32)}


def placement(mesh, rules=(), batch=BATCH, **changed):
    """Place a small model on a mesh of devices that need not exist."""
    return Placement(AbstractMesh(tuple(mesh.get(a, 1) for a in AXES), AXES), build(**(SMALL | changed)), batch, rules)


def test_the_table_has_a_rule_for_every_letter_of_a_parameter():
    everything = build(**SMALL).config
    assert set(sizes(everything.as_settings)) | {"L", "P", "A", "C", "Z", "E", "M"} <= set(LETTERS)


@pytest.mark.parametrize(
    ("letters", "spec"),
    [
        ("L D N H", (None, "fsdp", "tensor", None)),
        ("F D", ("tensor", "fsdp")),
        ("V D", ("tensor", "fsdp")),
        ("D D", ("fsdp", None)),  # an axis of the mesh divides one axis of an array
        ("D Z E", ("fsdp", None, None)),
        ("E Z E", ("fsdp", None, None)),
    ],
)
def test_a_parameter_is_divided_by_the_letters_of_its_axes(letters, spec):
    assert spec_of_parameter("a.b", letters.split()) == PartitionSpec(*spec)


@pytest.mark.parametrize(
    ("name", "axes", "spec"),
    [
        ("decoder.*.residual", "L B T D", ("sequence", None)),
        ("encoder.*.self.query", "L B S N H", ("sequence", "tensor", None)),
        ("decoder.*.cross.key", "L B S K H", (None, "tensor", None)),
        ("decoder.logits", "B T V", ("sequence", "tensor")),
        ("encoder.logits", "B C", (None,)),  # of a classifier
        ("decoder.*.own.output", "L B T S D", ("sequence", None, None)),
    ],
)
def test_a_site_is_divided_by_its_name_and_the_letters_of_its_axes_and_keys_have_all_positions(name, axes, spec):
    assert spec_of_site(name, axes) == PartitionSpec(("data", "fsdp"), *spec)
    assert spec_of_site("decoder.*.self.scores", "L B N T S") is None


@pytest.mark.parametrize(
    "changed",
    [
        *({"architecture": name} for name in ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")),
        *({"architecture": name, "class_head": {"classes": 3}} for name in ("encoder_only", "seq2seq")),
        {"mixer": "linear"},
        {"mixer": "examples.mixer:recurrence"},
    ],
    ids=str,
)
def test_every_model_is_traced_with_its_sites_held_to_a_mesh(changed):
    model = build(**what_is_read({**SMALL, **changed}))
    sides = {"encoder_only": ["source"], "decoder_only": ["target"]}.get(
        model.config.architecture, ["source", "target"]
    )
    batch = {side: jnp.ones((4, 6), jnp.int32) for side in sides}
    mesh = jax.make_mesh((1, 1, 1, 1), AXES, axis_types=(AxisType.Auto,) * 4)
    placed = Placement(mesh, model, batch)
    assert placed.sites
    jax.eval_shape(lambda params: model.apply(params, batch, replace=placed.sites), model.parameter_shapes)


def test_the_state_of_the_optimizer_is_divided_as_its_parameters():
    import optax

    placed = placement({"fsdp": 2, "tensor": 2})
    params = build(**SMALL).parameter_shapes
    state = jax.eval_shape(optax.adam(1e-3).init, params)
    found = placed.shardings(state)
    mu = found[0].mu["decoder"]["blocks"]["self"]["query"]["kernel"]
    assert mu.spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert found[0].count.spec == PartitionSpec()


def test_a_rule_of_ones_own_takes_the_place_of_the_tables():
    placed = placement({"tensor": 4}, ("*table=V:none",), vocab_size=11)
    params = build(**(SMALL | {"vocab_size": 11})).parameter_shapes
    assert placed.shardings(params)["embedding"]["table"].spec == PartitionSpec(None, "fsdp")


@pytest.mark.parametrize(
    ("mesh", "changed", "words"),
    [
        ({"tensor": 3}, {}, r"mesh.tensor does not divide model.feed_forward_width .*got 32 in 3 parts"),
        (
            {"tensor": 8},
            {},
            r"mesh.tensor does not divide model.num_heads .*got 4 in 8 parts.*Change model.num_heads to 8,",
        ),
        (
            {"tensor": 4},
            {"num_kv_heads": 2},
            r"Change model.num_kv_heads to 4, and model.num_heads to a multiple of it",
        ),
        ({"fsdp": 3}, {}, r"mesh.fsdp does not divide model.width .*got 8 in 3 parts; expected a multiple of 3"),
        ({"tensor": 4}, {"vocab_size": 13}, r"model.vocab_size .*got 13 in 4 parts.*Change model.vocab_size to 16,"),
    ],
)
def test_a_size_that_does_not_divide_is_an_error_with_its_setting(mesh, changed, words):
    with pytest.raises(UserError, match=words):
        placement(mesh, **changed)


def test_the_positions_of_a_recurrent_model_are_not_divided():
    batch = {"source": jnp.ones((2, 3), jnp.int32), "target": jnp.ones((2, 4), jnp.int32)}
    with pytest.raises(UserError, match=r"got mesh.sequence 2, architecture 'rnn_seq2seq'"):
        placement({"sequence": 2}, batch=batch, architecture="rnn_seq2seq")


def test_batches_that_do_not_divide_are_errors():
    placed = placement({"data": 2, "fsdp": 2, "sequence": 4})
    placed.check_batches([(8, 12)], accumulation=2)
    with pytest.raises(UserError, match=r"got 6 examples for 4 devices.*Set training.batch_size to 8"):
        placed.check_batches([(6, 12)])
    with pytest.raises(UserError, match=r"Set training.batch_size in place of training.batch_tokens"):
        placed.check_batches([(6, 12)], by_tokens=True)
    with pytest.raises(UserError, match=r"got 4 examples in 2 parts .*Set training.batch_size to 8"):
        placed.check_batches([(4, 12)], accumulation=2)
    with pytest.raises(UserError, match=r"got 10 positions in 4 parts.*Set task.context to 12"):
        placed.check_batches([(8, 10)])


def test_positions_are_filled_up_where_lengths_mark_padding():
    batch = {"target": jnp.ones((4, 6), jnp.int32), "target_lengths": jnp.full(4, 6)}
    placed = placement({"sequence": 4}, batch=batch)
    placed.check_batches([(8, 10)])
    assert placed.filled(np.ones((2, 6))).sum(axis=1).tolist() == [6, 6]
    assert placed.filled(np.ones((2, 6))).shape == (2, 8)
    bounded = placement({"sequence": 4}, batch=batch, position="learned", max_length=10)
    with pytest.raises(UserError, match=r"got 10 positions, filled up to 12; model.max_length 10"):
        bounded.check_batches([(8, 10)])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("*table=V", "not a rule of the mesh"),
        ("*table=VD:none", "not a rule of the mesh"),
        ("*table=X:none", r"has an axis X; .*such as embedding.table \(V D\)"),
        ("*table=F:none", r"has an axis F; .*such as embedding.table \(V D\)"),
        ("*table=V:rows", "an axis: data, fsdp, tensor, sequence, none"),
        ("encoder.*=D:none", "fits no parameter.*such as decoder"),
    ],
)
def test_a_rule_that_is_wrong_or_fits_nothing_is_an_error(rule, words):
    with pytest.raises(UserError, match=words):
        placement({"tensor": 2}, (rule,))


def test_the_product_of_a_mesh_is_the_number_of_devices():
    devices = jax.devices()[:1]
    assert mesh_of(MeshConfig(), devices) is None
    assert mesh_of(MeshConfig(data=-1), devices) is None
    four = devices * 4
    assert tuple(mesh_of(MeshConfig(data=-1, tensor=2), four).shape.values()) == (2, 1, 2, 1)
    for config, words in (
        (MeshConfig(data=2), "got data 2, and 1 device;"),
        (MeshConfig(data=-1, tensor=3), "got data -1 x tensor 3, and 4 devices;"),
        (MeshConfig(data=-1, fsdp=-1), "more than one axis of the mesh is -1; got data and fsdp"),
    ):
        with pytest.raises(UserError, match=words):
            mesh_of(config, devices if config.data == 2 else four)


def test_a_plan_needs_the_number_of_devices():
    assert mesh_devices(MeshConfig(data=2, tensor=4)) == 8
    with pytest.raises(UserError, match=r"got mesh.fsdp -1; expected a number. Give it, such as --config.mesh.fsdp=8"):
        mesh_devices(MeshConfig(fsdp=-1))


def test_a_sweep_has_no_mesh():
    with pytest.raises(UserError, match=r"a sweep has no mesh; got mesh.fsdp 2"):
        make_sweep(load_recipe("dates"), [("mesh.fsdp", "2")], {}, data="shared", sampler=None, trials=None)


def test_the_mesh_may_differ_when_a_run_is_continued():
    before, _ = settings.resolve(load_recipe("dates"))
    after, _ = settings.resolve(load_recipe("dates"), [("mesh.fsdp", "8")])
    found = configs.differences(settings.to_json_dict(before), settings.to_json_dict(after))
    assert found == [("mesh.fsdp", 1, 8, False)]
