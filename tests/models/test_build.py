import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, SIZES, TRANSFORMERS, B, T, batch, tiny, what_is_read
from transformer import ModelConfig, UserError
from transformer.models.config import EmbeddingConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_layer": 3}, "Did you mean 'num_layers'"),
        ({"embedding": {"scales": True}}, "Did you mean 'scale'"),
        ({"architecture": "decoder"}, "Did you mean 'decoder_only'"),
        ({"position": "RoPE"}, "unknown value of model.position.*rotary"),
        ({"score": "scaled-dot"}, "Did you mean 'scaled_dot'"),
        ({"num_layers": "3"}, "model.num_layers has the wrong type.*'3'.*int"),
        ({"num_layers": 2.5}, "model.num_layers has the wrong type"),
        ({"cross_attention": 1}, "model.cross_attention has the wrong type"),
        ({"embedding": 3}, "model.embedding is a section"),
        ({"num_layers": 0}, "model.num_layers is out of range"),
        ({"dropout": 1.0}, "model.dropout is out of range"),
        ({"width": 13, "head_width": None}, "not divisible by model.num_heads.*Try width 16"),
        ({"num_kv_heads": 3}, "not divisible by model.num_kv_heads"),
        ({"head_width": 5, "position": "rotary"}, "rotary.*head_width 5.*even"),
        ({"score": "position_only", "position": "rotary"}, "rotate queries and keys.*position_only.*another position"),
        (
            {"position": "relative", "relative": {"buckets": 8, "max_distance": 6}},
            "buckets 8, max_distance 6.*at least the buckets",
        ),
        ({"rotary_scale": 2.0, "position": "alibi"}, "rotary_scale is not read by .* 'alibi'.*model.position=rotary"),
        ({"rotary_base": 50.0, "position": "none"}, "rotary_base is not read by .*position 'none'.*position=rotary"),
        ({"position": "relative", "relative": {"buckets": 7}}, "model.relative.buckets is out of range.*even number"),
        ({"window": (2, 3, 4)}, "another number of layers.*model.window of 3 for 2 layers.*one for each layer"),
        ({"window": (2, 3), "num_encoder_layers": 3}, "another number of layers"),
        ({"window": (2, 0)}, "model.window is out of range"),
        ({"window": (2, "all")}, "model.window has the wrong type.*'all'"),
        ({"rotary_base": (1e4, 1e5), "position": "learned"}, "model.rotary_base is not read by .*'learned'"),
        ({"relative": {"buckets": 8}}, "relative.buckets is not read by .*=relative or model.score=position_only"),
        ({"score": "position_only", "relative": {"max_distance": 99}}, "max_distance is not read .*position=relative"),
        ({"attention": {"differential": True}, "head_width": 5}, "two halves of each head.*head_width 5.*even"),
        ({"attention": {"differential": True}, "position": "rotary"}, "each half of a head.*6.*a multiple of 4"),
        ({"attention": {"soft_cap": 0.0}}, "model.attention.soft_cap is out of range"),
        (
            {"attention": {"mask": "causal"}},
            "unknown value of model.attention.mask.*package.module:attribute.*query_positions",
        ),
        ({"attention": {"score_modifier": "no.such:f"}}, "model.attention.score_modifier.*cannot be imported"),
        ({"vocab_size": None}, "model.vocab_size is not set"),
        ({"position": "learned", "max_length": None}, "learned positions need model.max_length"),
        ({"score": "no.such.module:score"}, "cannot be imported"),
        ({"score": "transformer.axes:LEGEND"}, "is a dict.*expected a function"),
        ({"architecture": "decoder_only", "num_encoder_layers": 2}, "model.num_encoder_layers is not read by"),
        ({"architecture": "decoder_only", "embedding": {"types": 2}}, "model.embedding.types is not read by"),
        ({"architecture": "encoder_only", "cross_attention": False}, "not read.*only with .*seq2seq"),
        ({"architecture": "decoder_only", "self_attention": True}, "self_attention is not read.*only with seq2seq"),
        ({"recurrent": {"cell": "lstm"}}, "model.recurrent.cell is not read by .*'seq2seq'.*only with rnn_seq2seq"),
        ({"architecture": "rnn_seq2seq", "position": "none"}, "model.[a-z_]+ is not read by .*'rnn_seq2seq'"),
        ({"self_attention": False, "position": "rotary"}, "rotary.*self_attention false"),
        ({"self_attention": False, "attention": {"mask": "operator:ge"}}, "model.attention.mask is not read by"),
        ({"position": "rotary", "rotary_base": "x"}, "model.rotary_base.*got 'x'"),
        ({"self_attention": False, "window": 2}, "model.window is not read by .* with model.self_attention False"),
        ({"feed_forward_width": 0}, "model.activation is not read by .* with model.feed_forward_width 0"),
        ({"feed_forward_width": -1}, "model.feed_forward_width is out of range"),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(settings, says):
    with pytest.raises(UserError, match=says):
        transformer.build({**SIZES, **settings})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (ModelConfig(architecture="decoder", vocab_size=5), "Did you mean 'decoder_only'"),
        (ModelConfig(num_layers=0, vocab_size=5), "model.num_layers is out of range"),
        (ModelConfig(architecture="decoder_only", cross_attention=False, vocab_size=5), "is not read by"),
        (ModelConfig(width=13, num_heads=2, vocab_size=5), "not divisible"),
        (ModelConfig(), "model.vocab_size is not set"),
    ],
)
def test_a_config_object_is_checked_as_a_dict_is(config, says):
    with pytest.raises(UserError, match=says):
        transformer.build(config)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_dict_a_config_and_its_resolved_form_build_the_same_model(architecture):
    settings = what_is_read({**SIZES, "architecture": architecture})
    model = transformer.build({**settings, "embedding": {"scale": True}})
    config = ModelConfig(**settings, embedding=EmbeddingConfig(scale=True))
    assert transformer.build(config) == transformer.build(config.resolved()) == model
    assert transformer.build({**settings, "embedding": EmbeddingConfig(scale=True)}) == model


def test_settings_left_at_none_are_derived():
    config = transformer.build({"vocab_size": 5, "width": 24, "num_heads": 3, "num_layers": 7}).config
    assert (config.num_kv_heads, config.head_width, config.feed_forward_width) == (3, 8, 96)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (7, 7)
    given = {"num_kv_heads": 1, "head_width": 5, "feed_forward_width": 7, "num_decoder_layers": 2}
    config = transformer.build({"vocab_size": 5, "width": 24, "num_heads": 3, "num_layers": 7, **given}).config
    assert (config.num_kv_heads, config.head_width, config.feed_forward_width) == (1, 5, 7)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (7, 2)


def test_gpt2_bert_and_the_transformer_of_2017_are_settings():
    heads = {"vocab_size": 50, "width": 768, "num_heads": 12, "num_layers": 1, "max_length": 9}
    gpt2 = {"architecture": "decoder_only", "position": "learned", "activation": "gelu_tanh"}
    bert = {
        "architecture": "encoder_only",
        "position": "learned",
        "activation": "gelu",
        "norm_placement": "post",
        "embedding": {"norm": True, "types": 2},
    }
    original = {"architecture": "seq2seq", "norm_placement": "post", "embedding": {"scale": True}}
    found = []
    for settings in (gpt2, bert, original):
        shapes = transformer.build({**heads, **settings}).parameter_shapes
        found.append({jax.tree_util.keystr(p, simple=True, separator="."): x.shape for p, x in leaves(shapes)})
    assert found[0]["decoder.blocks.self.query.kernel"] == (1, 768, 12, 64)
    assert found[0]["input.positions.table"] == (9, 768)
    assert "head.kernel" not in found[0]
    assert found[1]["input.types.table"] == (2, 768)
    assert not any("final_norm" in name for name in found[1] | found[2])
    assert "decoder.final_norm.scale" in found[0]
    assert "decoder.blocks.cross.key.kernel" in found[2]


def test_a_resolved_config_may_be_changed_and_resolved_again():
    for settings in ({"score": "position_only"}, {"position": "relative"}, {"position": "rotary"}):
        config = transformer.build({**SIZES, "architecture": "decoder_only", **settings}).config
        again = dataclasses.replace(config, dtype="bfloat16").resolved()
        assert dataclasses.replace(again, dtype="float32") == config
    with pytest.raises(UserError, match="max_distance is not read"):
        transformer.build({**SIZES, "score": "position_only", "relative": {"max_distance": 128}})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_printed_model_fits_a_screen_and_names_its_stacks(architecture):
    text = str(tiny(architecture, position="rotary", dropout=0.1).model)
    assert text.startswith(f"Model: {architecture}\n")
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"  {stack}: 2 layers" in text for stack in tiny(architecture).model.stacks)
    assert "dropout=0.1" in text


def leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


@pytest.mark.parametrize("architecture", core_of(TRANSFORMERS, lambda name: name != "seq2seq"))
def test_a_sequence_longer_than_the_table_of_learned_positions_is_an_error(architecture):
    model = tiny(architecture, position="learned", max_length=4)
    with pytest.raises(UserError, match=r"longer than the table.*model.max_length = 4"):
        model.model.apply(model.params, batch())
    short = {name: x[:, :4] if x.ndim == 2 else x for name, x in batch().items()}
    assert np.isfinite(model(short)).all()
    long_prompt = {**batch(), "prefix_lengths": jnp.ones(B, int)}
    with pytest.raises(UserError, match="longer than the table"):
        model.model.start(model.params, long_prompt, steps=1)
    if architecture != "encoder_only":
        model.model.start(model.params, short, steps=1)
        with pytest.raises(UserError, match="longer than the table"):
            model.model.start(model.params, short, steps=2)


@pytest.mark.parametrize("position", ["rotary", "sinusoidal", "none"])
def test_other_positions_have_no_longest_sequence(position):
    model = tiny("decoder_only", position=position, max_length=4)
    assert np.isfinite(model(batch())).all()


@pytest.mark.parametrize(
    ("architecture", "missing"),
    [("encoder_only", "source"), ("decoder_only", "target"), ("seq2seq", "source"), ("rnn_seq2seq", "source")],
)
def test_a_batch_without_what_the_architecture_reads_says_so(architecture, missing):
    model, inputs = tiny(architecture), {name: x for name, x in batch().items() if name != missing}
    with pytest.raises(UserError, match=f"the batch has no {missing}"):
        model.model.apply(model.params, inputs)


@pytest.mark.parametrize(
    ("entry", "shape", "says"),
    [
        ("source_lengths", (B + 1,), "has another batch axis"),
        ("target_segments", (B, T + 1), "has another query position axis"),
        ("target", (T,), "has 1 axis"),
        ("source_lengths", (), "has 0 axes"),
    ],
)
def test_entries_of_a_batch_that_do_not_fit_are_named(entry, shape, says):
    model = tiny("seq2seq")
    with pytest.raises(UserError, match=rf"batch\['{entry}'\] {says}"):
        model.model.apply(model.params, {**batch(), entry: jnp.ones(shape, int)})


def test_a_batch_may_hold_numpy_arrays_and_what_models_do_not_read():
    model = tiny("decoder_only")
    inputs = {**{name: np.asarray(x) for name, x in batch().items()}, "labels": np.ones((B, T)), "loss_weights": None}
    np.testing.assert_array_equal(
        model.model.apply(model.params, inputs)["logits"], model.model.apply(model.params, batch())["logits"]
    )


def test_dropout_without_a_key_is_an_error_and_the_configs_rate_needs_one():
    model = tiny("decoder_only", dropout=0.5)
    with pytest.raises(UserError, match="key"):
        model.model.apply(model.params, batch(), dropout=0.1)
    np.testing.assert_array_equal(model(batch()), tiny("decoder_only")(batch()))
    dropped = jax.jit(lambda p: model.model.apply(p, batch(), key=jax.random.key(0))["logits"])(model.params)
    assert np.abs(dropped - model(batch())).max() > 0.01


def test_settings_may_be_keywords():
    settings = what_is_read({**SIZES, "architecture": "decoder_only"})
    assert transformer.build(**settings) == transformer.build(settings)
    with pytest.raises(UserError, match=r"takes a config, or settings as keywords; got a dict and width.*\*\*config"):
        transformer.build(settings, width=16)
    for given, got in (("decoder_only", "'decoder_only'"), (None, r"vocab_size is not set"), (3, "3")):
        with pytest.raises(UserError, match=got):
            transformer.build.__wrapped__(given)  # annotations, checked in the tests, would refuse it first


@pytest.mark.parametrize(
    ("sizes", "says"),
    [((0, None, None), "vocab_size is out"), ((9, 2.5, None), "max_length has the wrong type"), ((9, 4, 0), "classes")],
)
def test_sizes_that_are_filled_in_are_checked(sizes, says):
    with pytest.raises(UserError, match=rf"model.*{says}"):
        ModelConfig.with_sizes.__wrapped__(ModelConfig(), *sizes)  # as above
