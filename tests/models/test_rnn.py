import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.tiny import RECURRENT, SIZES, B, S, V, batch, frozendict, tiny, what_is_read
from transformer import UserError
from transformer.nn.recurrent.cells import CELLS
from transformer.read_by import unread

ADDITIVE, _, BILINEAR, BLIND = RECURRENT
WEIGHTS = "decoder.0.cross.weights"


@pytest.mark.parametrize("settings", [ADDITIVE, BILINEAR], ids=str)
def test_weights_sum_to_one_over_the_source_and_are_zero_on_padding(settings):
    model, inputs = tiny("rnn_seq2seq", **settings), {**batch(), "source_lengths": jnp.array([S, 0, 3])}
    weights = model.model.apply(model.params, inputs, capture=(WEIGHTS,))["captured"][WEIGHTS][0]
    np.testing.assert_allclose(weights.sum(-1), np.broadcast_to([[[1]], [[0]], [[1]]], (B, 4, 7)), rtol=1e-5)
    padding = np.arange(S) >= np.asarray(inputs["source_lengths"])[:, None]
    assert not np.asarray(weights)[np.broadcast_to(padding[:, None, None], weights.shape)].any()
    assert np.asarray(weights)[0].std() > 1e-3


def test_without_attention_the_decoder_sees_nothing_but_the_last_states():
    inputs = batch()

    def change(model):
        """Measure the change of the logits where the encoder's last states are replaced by zero."""
        replaced = jax.jit(lambda p: model.model.apply(p, inputs, replace={"encoder.1.residual": jnp.zeros_like}))
        return np.abs(replaced(model.params)["logits"] - model(inputs)).max(axis=(1, 2))

    blind, seeing = tiny("rnn_seq2seq", **BLIND), tiny("rnn_seq2seq", **ADDITIVE)
    assert change(blind).max() < 1e-5
    assert (change(seeing) > 1e-3).all()
    other = {**inputs, "source": (inputs["source"] + 1) % V}
    assert (blind(other) != blind(inputs)).any(axis=-1).all()


def test_sources_with_the_same_last_states_are_the_same_without_attention():
    """Cells that keep nothing of what was before: the last state is that of the last token alone."""
    settings = {"recurrent": frozendict(cell="gru", bidirectional=False, attention="none"), "num_layers": 1}
    model, inputs = tiny("rnn_seq2seq", **settings), batch()
    cell = model.params["encoder"]["blocks"]["forward"]
    shut = {**cell, "bias": cell["bias"].at[:, 1].set(-200.0), "recurrent": jnp.zeros_like(cell["recurrent"])}
    params = {**model.params, "encoder": {"blocks": {"forward": shut}}}
    last = np.asarray(inputs["source_lengths"]) - 1
    before = jnp.where(jnp.arange(S) == last[:, None], inputs["source"], 7)
    np.testing.assert_array_equal(model({**inputs, "source": before}, params), model(inputs, params))
    of_last = jnp.where(jnp.arange(S) == last[:, None], (inputs["source"] + 1) % V, inputs["source"])
    assert (model({**inputs, "source": of_last}, params) != model(inputs, params)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_source_read_backwards_by_cells_that_are_swapped_gives_the_states_backwards(cell):
    model, inputs = tiny("rnn_seq2seq", recurrent=frozendict(cell=cell), num_encoder_layers=1), batch()
    lengths = np.asarray(inputs["source_lengths"])
    at = np.where(np.arange(S) < lengths[:, None], lengths[:, None] - 1 - np.arange(S), np.arange(S))
    turned = {**inputs, "source": jnp.take_along_axis(inputs["source"], jnp.array(at), axis=1)}
    blocks = model.params["encoder"]["blocks"]
    swapped = {**model.params, "encoder": {"blocks": {"forward": blocks["backward"], "backward": blocks["forward"]}}}
    run = jax.jit(lambda p, b: model.model.apply(p, b, capture=("encoder.0.residual",))["captured"])
    here, there = (
        np.asarray(run(*asked)["encoder.0.residual"])[0] for asked in ((model.params, inputs), (swapped, turned))
    )
    width = SIZES["width"] // 2
    for b, length in enumerate(lengths):
        expected = here[b, :length][::-1]
        np.testing.assert_allclose(there[b, :length, :width], expected[:, width:], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(there[b, :length, width:], expected[:, :width], rtol=1e-5, atol=1e-6)
    assert np.abs(here[0, :, :width] - here[0, :, width:]).max() > 0.05


@pytest.mark.more
def test_a_replacement_of_weights_is_made_in_each_step_of_apply_and_of_decoding():
    model, inputs = tiny("rnn_seq2seq", **ADDITIVE), {**batch(), "target_lengths": jnp.array([4, 4, 4])}
    first = {"decoder.*.cross.weights": lambda w: jnp.zeros_like(w).at[..., 0].set(1.0)}
    names = ("decoder.0.cross.head", "decoder.0.cross.value")
    out = jax.jit(lambda p: model.model.apply(p, inputs, capture=names, replace=first))(model.params)
    head, value = (np.asarray(out["captured"][name])[0] for name in names)
    for n in range(4):
        expected = np.broadcast_to(value[:, :1, n // 2], head[:, :, n].shape)
        np.testing.assert_allclose(head[:, :, n], expected, rtol=1e-5, atol=1e-6)
    prompt = {**inputs, "target": inputs["target"][:, :4]}
    logits, _, _ = model.model.start(model.params, prompt, steps=1, replace=first)
    np.testing.assert_allclose(logits, out["logits"][:, 3], rtol=1e-4, atol=1e-4)
    shorter = {**prompt, "target_lengths": jnp.array([3, 3, 3])}
    _, cache, _ = model.model.start(model.params, shorter, steps=1, replace=first)
    logits, _, _ = model.model.step(model.params, prompt["target"][:, 3], cache, replace=first)
    np.testing.assert_allclose(logits, out["logits"][:, 3], rtol=1e-4, atol=1e-4)


def test_recurrent_matrices_start_orthogonal_and_forget_gates_open():
    sizes = {"vocab_size": 11, "width": 12, "num_layers": 2, "recurrent": {"cell": "lstm", "attention": "none"}}
    model = transformer.build({"architecture": "rnn_seq2seq", **sizes})
    init = jax.jit(model.init)
    params, scaled = init(jax.random.key(0), 1.0), init(jax.random.key(0), 0.5)
    matrices = np.moveaxis(np.asarray(params["decoder"]["blocks"]["cell"]["recurrent"]), 2, 1).reshape(-1, 12, 12)
    np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), np.broadcast_to(np.eye(12), (8, 12, 12)), atol=1e-5)
    assert len(np.unique(matrices[:, 0, 0].round(4))) == 8
    for tree, scale in ((params, 1.0), (scaled, 0.5)):
        own = tree["encoder"]["blocks"]["backward"]
        np.testing.assert_array_equal(own["bias"], np.broadcast_to([[0], [1], [0], [0]], (2, 4, 6)))
        np.testing.assert_allclose(
            own["recurrent"], scale * params["encoder"]["blocks"]["backward"]["recurrent"], rtol=1e-6
        )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"num_heads": 2},
            "model.num_heads is not read by .*rnn_seq2seq.*attention 'none'.*other than none",
        ),
        ({"head_width": 2}, "model.head_width is not read"),
        ({"score": "dot"}, "model.score is not read by .*only with encoder_only, decoder_only, seq2seq"),
        ({"embedding": {"norm": True}}, "model.embedding.norm is not read"),
        ({"recurrent": {"cell": "rnn"}}, "unknown value of model.recurrent.cell.*gru, lstm"),
        ({"recurrent": {"attention": "additiv"}}, "Did you mean 'additive'"),
        ({"width": 15}, "half of model.width.*width 15; expected even"),
        ({"width": 14, "recurrent": {"attention": "dot"}}, "not divisible by model.num_heads"),
        ({"recurrent": {"attention": "no.such.module:score"}}, "cannot be imported"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(settings, says):
    settings = {"architecture": "rnn_seq2seq", "vocab_size": 11, "recurrent": {"attention": "none"}, **settings}
    with pytest.raises(UserError, match=says):
        transformer.build(settings)


def test_heads_are_no_question_without_attention():
    model = transformer.build(
        {"architecture": "rnn_seq2seq", "vocab_size": 11, "width": 14, "recurrent": {"attention": "none"}}
    )
    assert transformer.build(model.config) == model
    assert "model.num_heads" in unread(model.config, "model")
    assert "num_heads" not in what_is_read({"architecture": "rnn_seq2seq", **SIZES, **BLIND})


@pytest.mark.parametrize(
    ("settings", "name", "says"),
    [
        (ADDITIVE, "decoder.*.self.weights", "the decoder of this model has no self-attention"),
        (ADDITIVE, "encoder.0.feed_forward.hidden", "the encoder of this model has no feed-forward"),
        (ADDITIVE, "encoder.0.cross.weights", "the encoder of this model has no cross-attention"),
        (
            ADDITIVE,
            "decoder.1.cross.weights",
            "layer of the decoder has no cross-attention; got 1; expected 0 to 0",
        ),
        (ADDITIVE, "decoder.3.residual", "no such layer in the decoder; got 3; expected 0 to 2"),
        (ADDITIVE, "decoder.0.cross.weights.4", "no such head"),
        (BLIND, "decoder.*.cross.weights", "the decoder of this model has no cross-attention"),
    ],
)
def test_an_activation_that_it_does_not_have_is_an_error(settings, name, says):
    model = tiny("rnn_seq2seq", **settings)
    with pytest.raises(UserError, match=says):
        model.model.apply(model.params, batch(), capture=(name,))


def test_segments_of_one_side_alone_are_refused():
    model = tiny("rnn_seq2seq", **ADDITIVE)
    with pytest.raises(UserError, match=r"got source_segments alone; expected source_segments and target_segments"):
        model.model.apply(model.params, {**batch(), "source_segments": jnp.ones((B, S), int)})


def test_attention_alone_has_no_other_parameters_and_an_encoder_without_sublayers_has_none():
    alone = tiny("seq2seq", self_attention=False, feed_forward_width=0)
    assert set(alone.params) == {"embedding", "decoder"}
    assert set(alone.params["decoder"]) == {"blocks", "final_norm"}
    assert set(alone.params["decoder"]["blocks"]) == {"cross", "cross_norm"}
    with pytest.raises(UserError, match="the encoder of this model has no layers"):
        alone.model.apply(alone.params, batch(), capture=("encoder.*.residual",))
    looking = tiny("seq2seq", feed_forward_width=0)
    assert set(looking.params["encoder"]["blocks"]) == {"self", "self_norm"}


def test_without_self_attention_a_position_sees_no_other_of_the_target():
    model, inputs = tiny("seq2seq", self_attention=False, feed_forward_width=0), batch()
    other = {**inputs, "target": inputs["target"].at[:, :3].add(1) % V}
    before, after = model(inputs), model(other)
    np.testing.assert_array_equal(after[:, 3:], before[:, 3:])
    assert (after[:, :3] != before[:, :3]).any(axis=-1).all()


def test_a_score_of_positions_alone_is_refused():
    settings = dict(architecture="rnn_seq2seq", vocab_size=9, recurrent={"attention": "position_only"})
    with pytest.raises(UserError, match="reads queries and keys, not positions; got position_only"):
        transformer.build(settings)
