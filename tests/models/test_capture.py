import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures import numpy_forward, numpy_rnn
from tests.fixtures.speeds import more
from tests.fixtures.tiny import B, batch, frozendict, tiny
from transformer.errors import UserError
from transformer.nn.names import SITES, parse_name

CASES = {
    "encoder_only": {"position": "learned", "norm_placement": "post", "embedding": ("norm", True)},
    "decoder_only": {"position": "rotary", "norm": "rms", "activation": "swiglu", "tie_embeddings": False, "window": 3},
    "seq2seq": {"position": "sinusoidal", "score": "additive", "embedding": ("scale", True), "num_encoder_layers": 3},
    "rnn_seq2seq": {"num_encoder_layers": 3},
}
LSTM = frozendict(cell="lstm", attention="scaled_dot", bidirectional=False)
BLIND = frozendict(cell="gru", attention="none")


def model_of(architecture, **more):
    settings = {**CASES[architecture], **more}
    if "embedding" in settings:
        settings["embedding"] = frozendict([settings["embedding"]])
    return tiny(architecture, **settings)


def stacks(architecture):
    both = ["encoder", "decoder"]
    return {"encoder_only": ["encoder"], "decoder_only": ["decoder"]}.get(architecture, both)


def all_names(architecture, attends=True):
    def there(stack, site):
        sublayer = site.partition(".")[0]
        if sublayer == "cross":
            return stack == "decoder" and "encoder" in stacks(architecture) and attends
        return architecture != "rnn_seq2seq" or sublayer == "residual"

    sites = [(stack, site) for stack in stacks(architecture) for site in SITES]
    return tuple(f"{stack}.*.{site}" for stack, site in sites if there(stack, site))


def whole_names(architecture):
    """The activations of whole stacks; that of CASES of an encoder-only model places norms behind its sublayers."""
    norms = [f"{stack}.final_norm" for stack in stacks(architecture) if architecture in ("decoder_only", "seq2seq")]
    return (*(f"{stack}.embedding" for stack in stacks(architecture)), *norms, f"{stacks(architecture)[-1]}.logits")


def of_layers(seen):
    return {name: x for name, x in seen.items() if name.count(".") > 1}


def forward(config, params, inputs):
    own = numpy_rnn.forward if config.architecture == "rnn_seq2seq" else numpy_forward.forward
    return own(config, params, inputs)


def inputs_of(architecture):
    return {**batch(), "prefix_lengths": jnp.array([3, 0, 2])} if architecture == "decoder_only" else batch()


@pytest.mark.parametrize("unroll", [False, more(True)])
@pytest.mark.parametrize("architecture", CASES)
def test_capture_returns_what_a_plain_numpy_forward_computes(architecture, unroll):
    model, inputs, whole = model_of(architecture, unroll=unroll), inputs_of(architecture), whole_names(architecture)
    names = (*all_names(architecture), *whole)
    out = jax.jit(lambda p, b: model.model.apply(p, b, capture=names))(model.params, inputs)
    logits, seen = forward(model.model.config, model.params, inputs)
    sites = model.model.sites(inputs)
    assert set(out["captured"]) == set(names) == set(sites)
    assert all(sites[name].shape == x.shape for name, x in out["captured"].items())
    assert all(len(axes.split()) == len(shape) for axes, shape, _ in sites.values())
    for name, stacked in out["captured"].items():
        if name in whole:
            np.testing.assert_allclose(stacked, seen[name], rtol=2e-4, atol=2e-4, err_msg=name)
            continue
        layers = [name.replace("*", str(i)) for i in range(len(stacked))]
        assert name.replace("*", str(len(stacked))) not in seen
        np.testing.assert_allclose(stacked, [seen[layer] for layer in layers], rtol=2e-4, atol=2e-5, err_msg=name)
    layers = 3 if architecture.endswith("seq2seq") else 2
    assert len(out["captured"][f"{stacks(architecture)[0]}.*.residual"]) == layers
    np.testing.assert_allclose(out["logits"], logits, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(model(inputs), logits, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "more",
    [
        {"recurrent": LSTM, "num_decoder_layers": 1, "tie_embeddings": False},
        {"recurrent": LSTM, "num_encoder_layers": 1, "num_decoder_layers": 3},
        {"recurrent": BLIND},
    ],
    ids=str,
)
def test_a_recurrent_model_of_any_kind_is_that_of_numpy(more):
    model, inputs = model_of("rnn_seq2seq", **more), {**batch(), "source_lengths": jnp.array([5, 0, 3])}
    names = all_names("rnn_seq2seq", attends=more["recurrent"] is not BLIND)
    out = jax.jit(lambda p, b: model.model.apply(p, b, capture=names))(model.params, inputs)
    logits, seen = forward(model.model.config, model.params, inputs)
    np.testing.assert_allclose(out["logits"], logits, rtol=2e-4, atol=2e-4)
    assert {name.replace("*", "0") for name in names} <= set(seen)
    for name, value in of_layers(seen).items():
        stack, layer, site = name.split(".", 2)
        np.testing.assert_allclose(
            out["captured"][f"{stack}.*.{site}"][int(layer)], value, rtol=2e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("norm_placement", ["pre", more("post")])
@pytest.mark.parametrize(
    ("self_attention", "width", "there"),
    [
        (False, 0, {"decoder": ["cross"]}),
        more(True, 0, {"encoder": ["self"], "decoder": ["self", "cross"]}),
        (False, 17, {"encoder": ["feed_forward"], "decoder": ["cross", "feed_forward"]}),
    ],
)
def test_attention_alone_is_that_of_numpy(self_attention, width, there, norm_placement):
    own = {"self_attention": self_attention, "feed_forward_width": width, "norm_placement": norm_placement}
    model, inputs = tiny("seq2seq", **own), batch()
    names = [f"{stack}.*.{site}" for stack in there for site in SITES if site.partition(".")[0] in there[stack]]
    names = (*names, *(f"{stack}.*.residual" for stack in there))
    out = jax.jit(lambda p, b: model.model.apply(p, b, capture=names))(model.params, inputs)
    logits, seen = forward(model.model.config, model.params, inputs)
    np.testing.assert_allclose(out["logits"], logits, rtol=2e-4, atol=2e-4)
    assert len(of_layers(seen)) == sum(len(out["captured"][name]) for name in names)
    for name, value in of_layers(seen).items():
        stack, layer, site = name.split(".", 2)
        captured = out["captured"][f"{stack}.*.{site}"][int(layer)]
        np.testing.assert_allclose(captured, value, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "geglu"])
def test_activations_and_biases_are_those_of_the_numpy_forward(activation):
    model = tiny("decoder_only", activation=activation)
    expected, _ = forward(model.model.config, model.params, batch())
    np.testing.assert_allclose(model(batch()), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("architecture", ["decoder_only", more("seq2seq"), "rnn_seq2seq"])
def test_capture_while_decoding_is_that_of_the_whole_sequence(architecture):
    model, steps = model_of(architecture), 3
    names = (*all_names(architecture), *whole_names(architecture))
    names = tuple(name for name in names if name.startswith("decoder"))
    prompts = np.array([4, 2, 3])
    whole = {**batch(), "target_lengths": jnp.array(prompts + steps)}
    _, seen = forward(model.model.config, model.params, whole)
    prompt = {**whole, "target": whole["target"][:, :4], "target_lengths": jnp.array(prompts)}
    begin = jax.jit(lambda p, b: model.model.start(p, b, steps=steps, capture=names))
    step = jax.jit(lambda p, tokens, cache: model.model.step(p, tokens, cache, capture=names))

    _, cache, captured = begin(model.params, prompt)
    for b in range(B):
        compare(captured, seen, b, slice(0, prompts[b]), slice(0, prompts[b]), prompts[b])
    for i in range(steps):
        at = prompts + i
        _, cache, captured = step(model.params, whole["target"][np.arange(B), at], cache)
        assert set(captured) == set(names)
        for b in range(B):
            compare(captured, seen, b, slice(0, 1), slice(at[b], at[b] + 1), at[b] + 1)


def compare(captured, seen, b, rows, full_rows, keys):
    """The rows of example b; of its self-attention, the keys that are filled."""
    for name, stacked in captured.items():
        if name == "decoder.logits":  # those of the next token alone
            last = seen[name][b][full_rows.stop - 1]
            np.testing.assert_allclose(stacked[b], last[None], rtol=2e-4, atol=2e-4)
            continue
        sublayer, _, part = name.removeprefix("decoder.*.").partition(".")
        for layer, x in enumerate(stacked if "*" in name else [stacked]):
            got, expected = np.asarray(x[b]), seen[name.replace("*", str(layer))][b]
            filled = keys if sublayer == "self" else expected.shape[-1 if part in ("scores", "weights") else 0]
            if part in ("scores", "weights"):
                got, expected = got[:, rows, :filled], expected[:, full_rows, :filled]
            elif part in ("key", "value"):
                got, expected = got[:filled], expected[:filled]
            else:
                got, expected = got[rows], expected[full_rows]
            np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_an_encoder_only_model_is_captured_when_decoding_starts():
    model, name = model_of("encoder_only"), "encoder.1.self.weights"
    inputs = {**batch(), "prefix_lengths": jnp.array([2, 1, 1])}
    _, _, captured = model.model.start(model.params, inputs, steps=2, capture=(name,))
    _, seen = forward(model.model.config, model.params, batch())
    np.testing.assert_allclose(captured[name], seen[name][None], rtol=2e-4, atol=2e-5)


def test_a_layer_and_a_head_are_cut_out_with_a_leading_layer_axis():
    model, inputs = tiny("decoder_only", position="rotary"), batch()
    names = ("decoder.1.self.weights.3", "decoder.*.self.key.1", "decoder.0.self.head.*", "decoder.1.residual")
    captured = model.model.apply(model.params, inputs, capture=names)["captured"]
    _, seen = forward(model.model.config, model.params, inputs)
    expected = [
        seen["decoder.1.self.weights"][None, :, 3],
        np.stack([seen[f"decoder.{i}.self.key"][:, :, 1] for i in range(2)]),
        seen["decoder.0.self.head"][None],
        seen["decoder.1.residual"][None],
    ]
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(captured[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


def test_weights_are_captured_before_dropout_and_used_after_it():
    model, inputs, name = tiny("decoder_only", position="rotary"), batch(), "decoder.0.self.weights"

    def run(capture):
        def apply(params, key):
            return model.model.apply(params, inputs, key=key, dropout=0.5, capture=capture)

        return jax.jit(apply)(model.params, jax.random.key(0))

    plain, seen = run(()), run((name,))
    weights = np.asarray(seen["captured"][name])[0]
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(seen["logits"], plain["logits"], rtol=1e-4, atol=1e-4)


def test_asked_for_nothing_the_compiled_program_is_the_one_without():
    model, inputs = tiny("seq2seq"), batch()

    def lowered(**asked):
        run = jax.jit(lambda params, inputs: model.model.apply(params, inputs, **asked)["logits"])
        return run.lower(model.params, inputs)

    bare, empty = lowered(), lowered(capture=(), replace={})
    assert empty.as_text() == bare.as_text()
    assert instructions(empty) == instructions(bare)
    assert lowered(replace={"decoder.0.residual": lambda x: 2 * x}).as_text() != bare.as_text()


def instructions(lowered):
    """Return the operations of the compiled program, without the lines of source that they come from."""
    lines = [re.sub(r", metadata=\{[^}]*\}", "", line) for line in lowered.compile().as_text().splitlines()]
    kept = [line for line in lines if " = " in line]
    assert len(kept) > 100
    return kept


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("decoder.*.self.wieghts", "Did you mean 'self.weights'"),
        ("decoder.0.feedforward.output", "Did you mean 'feed_forward.output'"),
        ("decodr.0.self.weights", "Did you mean 'decoder'"),
        ("encoder.0.self.weights", "no encoder"),
        ("decoder.2.self.weights", "expected 0 to 1"),
        ("decoder.0.self.weights.4", "no such head.*expected 0 to 3"),
        ("decoder.0.self.key.2", "no such head.*expected 0 to 1"),
        ("decoder.0.cross.weights", "no cross-attention"),
        ("decoder.first.self.weights", "a number or"),
        ("decoder.0.self.output.1", "has no heads"),
        ("decoder.0", "not the name"),
        ("decoder.embeding", "Did you mean 'embedding'"),
        ("decoder.0.logits", "'logits' is of a whole stack and has no layer.*Write 'decoder.logits'"),
        ("decoder.self.weights", r"without one. Write 'decoder.\*.self.weights'"),
    ],
)
def test_a_bad_name_is_an_error_that_helps(name, says):
    model = tiny("decoder_only", position="rotary")
    with pytest.raises(UserError, match=says):
        model.model.apply(model.params, batch(), capture=(name,))
    with pytest.raises(UserError, match=says):
        model.model.apply(model.params, batch(), replace={name: lambda x: x})


def test_one_string_is_not_a_tuple_of_names():
    model = tiny("decoder_only", position="rotary")
    with pytest.raises(UserError, match="tuple of names"):
        model.model.apply.__wrapped__(model.model, model.params, batch(), capture="decoder.0.residual")


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(UserError, match=r"the name of an activation is a text; got \('decoder', 1\)"):
        parse_name.__wrapped__(("decoder", 1))  # not checked


@pytest.mark.parametrize("site", ["weights", "scores"])
def test_asking_fused_kernels_for_weights_is_an_error(site):
    model, name = tiny("decoder_only", kernels="fused"), f"decoder.0.self.{site}"
    with pytest.raises(UserError, match=r"does not compute scores and weights.*kernels='fast'"):
        model.model.apply(model.params, batch(), capture=(name,))
    assert model.model.apply(model.params, batch(), capture=("decoder.0.self.head",))["captured"]
    fast, plain = (tiny("decoder_only", kernels=kernels) for kernels in ("fast", "plain"))
    found, expected = (own.model.apply(own.params, batch(), capture=(name,)) for own in (fast, plain))
    np.testing.assert_allclose(found["captured"][name], expected["captured"][name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
