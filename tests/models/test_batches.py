"""Batches: every entry counts or is refused, in every type of integers, within the range of its table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, SIZES, B, S, T, V, batch, frozendict, side, tiny
from transformer import Model
from transformer.errors import UserError
from transformer.models import entries, faults
from transformer.models.batch import ENTRIES, LOSS_ENTRIES
from transformer.ops.losses import cross_entropy, weighted_sum

OF_SOURCE = ("source", "source_lengths", "source_segments", "source_types")
OF_TARGET = ("target", "target_lengths", "target_segments")
READ = {
    "encoder_only": OF_SOURCE,
    "decoder_only": (*OF_TARGET, "prefix_lengths"),
    "seq2seq": (*OF_SOURCE, *OF_TARGET, "prefix_lengths"),
    "rnn_seq2seq": (*OF_SOURCE, "target", "target_segments"),
}
"""Entries that the logits of each architecture depend on. `start` reads further ones: `prefix_lengths` of encoder_only,
`target_lengths` of rnn_seq2seq.
"""


@functools.cache
def with_types(architecture):
    """A model that reads all entries that its architecture may read; one program for the tests of this file."""
    settings = {} if architecture == "decoder_only" else {"embedding": frozendict(types=3)}
    settings |= RECURRENT[0] if architecture == "rnn_seq2seq" else {"position": "rotary"}
    return tiny(architecture, **settings)


def everything():
    """A batch with every entry; the first example is full, the last position of the second is padding."""
    segments = {"source_segments": [1, 1, 2, 2, 2], "target_segments": [1, 1, 1, 2, 2, 2, 2]}
    return {
        **batch(),
        **{name: jnp.array([row] * B) for name, row in segments.items()},
        "source_lengths": jnp.array([S, 4, 3]),
        "target_lengths": jnp.array([T, 6, 5]),
        "source_types": jnp.arange(B * S).reshape(B, S) % 3,
        "prefix_lengths": jnp.array([2, 1, 2]),
        "labels": jnp.zeros((B, T), int),
        "loss_weights": jnp.ones((B, T)),
    }


def another(name, array):
    """Other numbers, as right as the first ones."""
    if name in ("source", "target"):
        return array % (V - 1) + 1
    if name.endswith("_segments"):
        return jnp.where(jnp.arange(array.shape[1]) == 2, 3 - array, array)
    if name == "source_types":
        return (array + 1) % 3
    return array + 1 if name in ("prefix_lengths", "labels", "loss_weights") else array - 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_entry_changes_the_result_or_is_one_that_the_architecture_does_not_read(architecture):
    model, inputs = with_types(architecture), everything()
    before = model(inputs)
    assert np.isfinite(before).all()
    for name, array in inputs.items():
        moved = np.abs(model({**inputs, name: another(name, array)}) - before).max()
        assert (moved > 1e-3) == (name in READ[architecture]), name
        assert name in READ[architecture] or moved == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_slip_in_a_name_is_refused_with_the_right_one(architecture):
    model, inputs = with_types(architecture), everything()
    allowed = (*ENTRIES, *LOSS_ENTRIES)
    assert set(inputs) == set(allowed)
    for name in allowed:
        others = {other: array for other, array in inputs.items() if other != name}
        for slip in (name[:-1], f"{name}_", name.upper(), name.replace("_", "-") + "x"):
            for run in (model.model.apply, functools.partial(model.model.start, steps=1)):
                with pytest.raises(UserError, match=f"Did you mean '{name}' for '{slip}'"):
                    run(model.params, {**others, slip: inputs[name]})


def test_names_of_other_libraries_lead_to_ours_and_the_error_has_those_that_came():
    for architecture, ours in (("encoder_only", "source"), ("decoder_only", "target"), ("seq2seq", "source")):
        model = tiny(architecture)
        with pytest.raises(UserError, match=rf"'input_ids', 'attention_mask'; expected .*'{ours}' for 'input_id"):
            model.model.apply(model.params, {"input_ids": np.ones((2, 3), int), "attention_mask": np.ones((2, 3), int)})
    with pytest.raises(
        UserError,
        match=r"unknown entries of a batch: 0, 'zzz'; got target, 0, zzz; expected target, labels, loss_weights$",
    ):
        entries.read({"target": 3, 0: 1, "zzz": 2}, ("target",))
    for slip in ("target_mask", "source_mask", "mask"):
        name = slip if slip != "mask" else "source_mask"
        with pytest.raises(UserError, match=f"Did you mean '{name.removesuffix('mask')}lengths' for '{slip}'"):
            entries.read({"source": 3, slip: 1}, ("source", "target"))
    with pytest.raises(UserError, match=r"got a dict of dicts, like parameters; .* apply\(params, batch\)"):
        model.model.apply({"source": np.ones((2, 3), int)}, model.params)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.ones((2, 3), int), r"a batch is a dict of arrays; got ndarray of shape \(2, 3\).*Pass \{'target'"),
        (3, "a batch is a dict of arrays; got 3; expected entries among target, "),
        ({"target": jnp.ones((2, 3))}, r"batch\['target'\] does not hold whole numbers; got float32 of shape \(2, 3\)"),
        ({"target": None}, r"batch\['target'\] does not hold whole numbers; got None"),
        ({"target": [["a", "b"]]}, "does not hold whole numbers; got <U1"),
        ({"target": np.ones((2, 3), bool)}, "does not hold whole numbers; got bool"),
        ({"target": [[1, 2], [3]]}, r"batch\['target'\] is no array"),
        ({"target": np.ones(3, int)}, r"batch\['target'\] has 1 axis"),
        ({"target": np.ones((2, 3), int), "target_lengths": np.ones(3, int)}, "another batch axis"),
        ({"target": np.ones((2, 3), int), "target_lengths": np.ones(2)}, r"target_lengths'\] does not hold whole"),
        ({"target": np.ones((2, 3), int), "target_segments": np.ones((2, 4), int)}, "another query position axis"),
        ({"target": np.ones((1, 2), int), "target_segments": np.array([[1, 2**40]])}, "ids beyond 32 bits; got 10995"),
    ],
)
def test_what_is_no_batch_is_refused_in_words(given, says):
    model = tiny("decoder_only")
    for run in (model.model.apply, functools.partial(model.model.start, steps=1)):
        with pytest.raises(UserError, match=says):
            run(model.params, given)


# Types of integers

TYPES = [kind + size for kind in ("int", "uint") for size in ("8", "16", "32", "64")]


@pytest.mark.parametrize("dtype", TYPES)
def test_ids_lengths_and_segments_of_every_type_are_the_same_numbers(dtype):
    inputs = {name: np.asarray(array) for name, array in everything().items() if name in ENTRIES}
    for make in (np.asarray, jnp.asarray):
        if make is jnp.asarray and dtype.endswith("64"):
            continue  # JAX has no 64 bits unless they are switched on
        found = entries.read({name: make(array.astype(dtype)) for name, array in inputs.items()}, tuple(ENTRIES))
        assert set(found) == set(ENTRIES)
        for name, array in found.items():
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, inputs[name])


# Ranges


@pytest.mark.parametrize(
    ("architecture", "changes", "says"),
    [
        ("decoder_only", {"target": (0, 1, 999)}, r"\['target'\].*got 999 at example 0, position 1; expected 0 to 22"),
        ("decoder_only", {"target": (1, 0, -1)}, "got -1 at example 1, position 0.*Padding may hold any id"),
        ("decoder_only", {"target": (0, 0, 2**40 + 3)}, "got 1099511627779 at"),
        ("encoder_only", {"source": (2, 0, V)}, "got 23 at example 2, position 0"),
        ("encoder_only", {"source_types": (0, 0, 3)}, r"\['source_types'\].*expected 0 to 2 \(model.embedding.types 3"),
        ("seq2seq", {"source": (1, 2, -100)}, "got -100 at example 1, position 2"),
        ("rnn_seq2seq", {"source": (1, 2, 999)}, "got 999 at example 1, position 2"),
        ("seq2seq", {"source_lengths": (1, -3)}, "source_lengths.*a negative length; got -3 at example 1"),
        ("decoder_only", {"target_lengths": (2, -1)}, "target_lengths.*got -1 at example 2; expected 0 or more"),
        ("decoder_only", {"prefix_lengths": (0, -1)}, "prefix_lengths.*got -1 at example 0"),
    ],
)
def test_a_number_outside_of_its_range_is_an_error_where_it_is_known(architecture, changes, says):
    model, inputs = with_types(architecture), {name: np.asarray(x).astype(np.int64) for name, x in everything().items()}
    for name, (*at, number) in changes.items():
        inputs[name][tuple(at)] = number
    with pytest.raises(UserError, match=says):
        model.model.apply(model.params, inputs)


def test_padding_and_entries_that_are_not_read_may_hold_any_number():
    model = with_types("decoder_only")
    inputs = {name: np.array(x) for name, x in everything().items()}
    inputs["target_segments"][0, -1] = 0
    expected = model(inputs)
    inputs["target"][1, 6:], inputs["target"][0, -1], inputs["source"][:] = 999, -1, -7
    found = model(inputs)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, :5], expected[:, :5])
    model.model._read(inputs, faults.faults_of_input)  # nor is it an error


def test_a_length_beyond_its_row_is_that_of_the_row():
    found = entries.read({"target": np.ones((2, 3), int), "target_lengths": np.array([9, 2])}, READ["decoder_only"])
    assert found["target_lengths"].tolist() == [3, 2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_traced_id_outside_of_the_vocabulary_has_nan_at_its_own_position_alone(architecture):
    model, inputs, name = with_types(architecture), everything(), side(architecture)
    for number, row in ((999, V - 1), (-1, 0), (-100, 0)):
        found = model({**inputs, name: inputs[name].at[0, 1].set(number)})
        nearest = np.array(model({**inputs, name: inputs[name].at[0, 1].set(row)}))
        assert np.isnan(found[0, 1]).all()
        nearest[0, 1] = np.nan
        np.testing.assert_array_equal(found, nearest)


def test_traced_faults_of_the_source_and_of_lengths_reach_the_logits_that_read_them():
    model, inputs = with_types("seq2seq"), everything()
    cases = {
        "source": (inputs["source"].at[0, 3].set(V), np.s_[0, 3:]),  # the second segment's target
        "source_types": (inputs["source_types"].at[0, 0].set(3), np.s_[0, :3]),
        "source_lengths": (inputs["source_lengths"].at[1].set(-1), np.s_[1]),
        "target_lengths": (inputs["target_lengths"].at[2].set(-2), np.s_[2]),
        "prefix_lengths": (inputs["prefix_lengths"].at[0].set(-1), np.s_[0]),
    }
    for name, (array, where) in cases.items():
        expected = np.zeros((B, T), bool)
        expected[where] = True
        np.testing.assert_array_equal(np.isnan(model({**inputs, name: array})).all(axis=-1), expected, err_msg=name)


def test_the_gradients_of_other_positions_stay_those_without_the_unknown_one():
    model, inputs = with_types("decoder_only"), everything()
    bad = inputs["target"].at[0, 1].set(-1)
    weights = jnp.ones((B, T)).at[0, 1].set(0.0)

    @jax.jit
    def gradients(params, inputs):
        def loss(params):
            logits = model.model.apply(params, inputs)["logits"]
            nats = cross_entropy(logits, jnp.ones((B, T), int))
            return weighted_sum(nats, weights)[0]

        return jax.grad(loss)(params)

    found, expected = (gradients(model.params, {**inputs, "target": x}) for x in (bad, bad.at[0, 1].set(0)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_a_classifier_reads_one_example_of_each_row():
    model = transformer.build({**SIZES, "architecture": "decoder_only", "class_head": {"classes": 3}})
    with pytest.raises(UserError, match=r"a classifier reads one example of each row; got \[1 1 1 2 2 2 2\]"):
        model.apply({}, everything())


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_a_batch_without_a_token_is_refused(shape):
    model = tiny("decoder_only")
    with pytest.raises(UserError, match=r"a batch without a token; got batch\['target'\] of shape"):
        model.model.apply(model.params, {"target": np.zeros(shape, int)})


@pytest.mark.parametrize("params", [{}, None, {"params": {}}, {"decoder": {}, "more": {}}])
def test_parameters_of_another_model_are_refused(params):
    """Also where they are traced; the names at the top are compared."""
    model, inputs = tiny("decoder_only").model, {"target": np.ones((1, 2), int)}
    apply, start = (function.__wrapped__ for function in (Model.apply, Model.start))  # types are not checked
    for call in (apply, functools.partial(start, steps=1)):
        with pytest.raises(UserError, match=r"not the parameters of this model; got .*Pass the result of model.init"):
            jax.eval_shape(lambda p, call=call: call(model, p, inputs), params)
