"""Claims that hold for every combination of variants: each value in the core, each pair and triple elsewhere.

The product of all values is some 10^6 models. Every row is one tiny model whose other settings are values too. The
outputs are compared for every value in `make test`, for every pair in `make test-more` and for every triple in
`make test-full`; the gradients for one row in `make test`, for every value in `make test-more` and for every pair in
`make test-full`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.covering import cover, parts
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import SIZES, V, randomised, what_is_read
from transformer.errors import UserError
from transformer.nn.block_layout import BLOCK_LAYOUTS
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import FEED_FORWARDS
from transformer.nn.positions import POSITIONS
from transformer.ops.norms import NORMS
from transformer.ops.scores import SCORES
from transformer.ops.weights import WEIGHTS

HERE = "tests.claims.test_variants"
BASE = {**{name: size for name, size in SIZES.items() if name != "activation"}, "head_width": 8}
SOURCES, TARGETS = (3, 1, 5), (7, 2, 4)
STEPS, PREFIX = 4, 3
CACHED = 1e-5
"""Largest difference between a cached pass and a full one, of the largest logit, in float32.

Those seen are up to 7e-6, on a processor with AVX-512 (1.4e-5 of logits up to 2.2).
"""


def later_and_nearer(scores_BNTS, query_positions, key_positions):
    """A modifier of somebody's own, which is no function of the distance alone."""
    return scores_BNTS - 0.2 * jnp.abs(query_positions - key_positions) + 0.1 * jnp.sin(key_positions)


def two_of_three(query_positions, key_positions):
    """A mask of somebody's own, which is no function of the distance alone."""
    return (query_positions + key_positions) % 3 != 1


SCALED = ("rotary_linear", "rotary_llama3", "rotary_yarn")
"""Rows that are `rotary` with other rates: one stands for them, where pairs of values are tried."""

FACTORS = {
    "score": {
        **{name: {"score": name} for name in SCORES},
        "position_only": {"score": "position_only", "relative": {"buckets": 6}},
    },
    "position": {
        **{name: {"position": name} for name in POSITIONS if name not in SCALED},
        # By layer and with a scale, which the tests that have plain rotary positions leave out.
        "rotary": {"position": "rotary", "rotary_base": (50.0, 1e4), "rotary_scale": 3.0},
        "relative": {"position": "relative", "relative": {"buckets": 6, "max_distance": 7}},
        "own": {"position": "tests.fixtures.own_rows:kerple"},
        "rotary_yarn": {
            "position": "rotary_yarn",
            "rotary_base": (50.0, 1e4),
            "position_settings": {"original_length": 99},
        },
    },
    "heads": {"multi": {"num_kv_heads": 4}, "grouped": {"num_kv_heads": 2}, "single": {"num_kv_heads": 1}},
    "mask": {"causal": {}, "prefix": {}, "own": {"attention": {"mask": f"{HERE}:two_of_three"}}},
    "window": {"all": {}, "2": {"window": 2}, "by layer": {"window": (2, None)}},
    "placement": {
        **{name: {"norm_placement": name} for name in BLOCK_LAYOUTS},
        "own": {"norm_placement": "tests.fixtures.own_modules:scaled"},
    },
    "feed_forward": {
        **{name: {"feed_forward": name} for name in FEED_FORWARDS},
        "mlp": {"feed_forward": "mlp", "activation": "gelu_tanh"},
        "own": {"feed_forward": "tests.fixtures.own_modules:normed_hidden"},
    },
    "norm": {name: {"norm": name} for name in NORMS},
    "query_key_norm": {"without": {}, **{name: {"attention": {"query_key_norm": name}} for name in NORMS}},
    "weights": {name: {"attention": {"weights": name}} for name in WEIGHTS},
    "soft_cap": {"without": {}, "1.5": {"attention": {"soft_cap": 1.5}}},
    "sink": {"without": {}, "with": {"attention": {"sink": True}}},
    "maps": {"one": {}, "two": {"attention": {"differential": True}}},
    "modifier": {"without": {}, "own": {"attention": {"score_modifier": f"{HERE}:later_and_nearer"}}},
    "architecture": {name: {"architecture": name} for name in ("decoder_only", "seq2seq")},
    "kernels": {"plain": {}, "fast": {}},
    "mixer": {
        **{name: {"mixer": name} for name in MIXERS},
        "own": {"mixer": "examples.mixer:recurrence"},
    },
}
"""Factor -> its values -> their settings. The first value is what the others are compared with."""

MIXED = [
    {"mixer": "linear", "architecture": "seq2seq", "mask": "prefix", "heads": "grouped", "placement": "post"},
    {"mixer": "own", "architecture": "decoder_only", "mask": "causal", "position": "sinusoidal"},
]
"""Models whose mixer does not read what self-attention reads."""

NOT_ALLOWED = [
    *(
        ({"score": "position_only", "position": name}, "positions that rotate queries and keys change nothing")
        for name in ("rotary", "rotary_yarn")
    ),
    *(
        ({"score": "position_only", "query_key_norm": name}, "norms of queries and keys change nothing")
        for name in NORMS
    ),
    ({"score": "position_only", "maps": "two"}, "two maps of differential attention are equal"),
    ({"score": "bilinear", "maps": "two"}, "halves the width of queries and keys"),
    ({"score": "additive", "maps": "two"}, "halves the width of queries and keys"),
    *(({"weights": name, "sink": "with"}, "an attention sink is one") for name in WEIGHTS if name != "softmax"),
]
"""Values that contradict each other, and what the error says."""


def allowed(row):
    return not any(forbidden.items() <= row.items() for forbidden, _ in NOT_ALLOWED)


def settings_of(row):
    settings = {**BASE, "architecture": "decoder_only"}
    for factor, value in row.items():
        for name, x in FACTORS[factor][value].items():
            settings[name] = {**settings.get(name, {}), **x} if isinstance(x, dict) else x
    return what_is_read(settings)


VALUES = {factor: list(values) for factor, values in FACTORS.items() if factor != "mixer"}
PAIRS = cover(VALUES, allowed)
SINGLES = cover(
    {**VALUES, "position": [name for name in VALUES["position"] if name not in SCALED]}, allowed, strength=1
)


@functools.cache
def examples():
    random = np.random.default_rng(7)
    sizes = zip(SOURCES, TARGETS, strict=True)
    return [{"source": random.integers(1, V, s), "target": random.integers(1, V, t)} for s, t in sizes]


def padded(row, token, changed_from=None):
    """The examples as a batch, padded with `token`; from one target position on with other tokens, if asked for."""
    inputs = {}
    for name, lengths in (("source", SOURCES), ("target", TARGETS)):
        tokens = np.full((3, max(lengths)), token)
        for line, example in zip(tokens, examples(), strict=True):
            line[: len(example[name])] = example[name]
        inputs[name], inputs[f"{name}_lengths"] = tokens, np.array(lengths)
    if changed_from is not None:
        inputs["target"][:, changed_from:] = inputs["target"][:, changed_from:] % (V - 1) + 1
    return {**inputs, **prefix_of(row, 3)}


def packed(row):
    """The examples in one row, without padding."""
    inputs = {}
    for name, lengths in (("source", SOURCES), ("target", TARGETS)):
        inputs[name] = np.concatenate([example[name] for example in examples()])[None]
        inputs[f"{name}_segments"] = np.repeat([1, 2, 3], lengths)[None]
    return {**inputs, **prefix_of(row, 1)}


def prefix_of(row, size):
    """A prefix of the first example alone, since only a row's first example may have one."""
    return {"prefix_lengths": np.array([PREFIX, 0, 0])[:size]} if row["mask"] == "prefix" else {}


@functools.cache
def real():
    return np.arange(max(TARGETS)) < np.array(TARGETS)[:, None]


def models(row, **others):
    """The model of a row, models that differ from it by the settings of `others`, and parameters of all."""
    made = [transformer.build({**settings_of(row), **more}) for more in ({}, *others.values())]
    params = randomised(made[0].parameter_shapes)
    return *made, about_their_start(params) if row.get("norm") == "rms_plus_one" else params


def about_their_start(params):
    """Move the scales of rms_plus_one from about 1 to about 0, where they start: it multiplies by 1 + scale."""

    def one(path, x):
        owner, name = [entry.key for entry in path][-2:]
        return x - 1 if name == "scale" and owner not in ("query_norm", "key_norm") else x

    return jax.tree_util.tree_map_with_path(one, params)


def check_outputs(row):
    """All claims about the logits of one model, in three compiled programs."""
    scanned, packs, caches, params = models(row, packs={"unroll": True}, caches={"kernels": row["kernels"]})
    inputs, apply = padded(row, 2), jax.jit(lambda params, inputs: scanned.apply(params, inputs)["logits"])
    logits = np.asarray(apply(params, inputs))
    assert np.isfinite(logits).all()
    assert np.ptp(logits, axis=-1).min() > 0.1

    # What stands in the padding changes nothing, and causal stays causal.
    np.testing.assert_array_equal(np.asarray(apply(params, padded(row, 19)))[real()], logits[real()])
    later = np.asarray(apply(params, padded(row, 2, changed_from=4)))
    np.testing.assert_array_equal(later[:, :4], logits[:, :4])
    assert (later[0, 4:] != logits[0, 4:]).any(axis=-1).all()

    # Packed, unrolled and without padding is separate, scanned and padded.
    together = np.asarray(jax.jit(packs.apply)(params, packed(row))["logits"][0])
    np.testing.assert_allclose(together, logits[real()], rtol=1e-3, atol=2e-4)

    # Cached is full: prompts of other lengths, then the rest one by one, with logits of order 1.
    of_order_1 = jax.tree_util.tree_map_with_path(lambda path, x: x / 4 if path[-1].key == "table" else x, params)
    logits, prompts = np.asarray(apply(of_order_1, inputs)), np.array([PREFIX + 1, 1, 2])
    at = prompts[:, None] - 1 + np.arange(STEPS)
    tokens = jnp.asarray(np.take_along_axis(inputs["target"], at, axis=1))
    prompt = {**inputs, "target": inputs["target"][:, : PREFIX + 1], "target_lengths": prompts}

    @jax.jit
    def stepped(params, prompt, tokens):
        def one(cache, tokens_B):
            logits_BV, cache, _ = caches.step(params, tokens_B, cache)
            return cache, logits_BV

        logits_BV, cache, _ = caches.start(params, prompt, steps=STEPS)
        later_TBV = jax.lax.scan(one, cache, tokens.T[1:])[1]
        return jnp.moveaxis(jnp.concatenate([logits_BV[None], later_TBV]), 0, 1)

    expected = np.take_along_axis(logits, at[..., None], axis=1)
    inside = at < np.array(TARGETS)[:, None]
    found = np.asarray(stepped(of_order_1, prompt, tokens))
    np.testing.assert_allclose(found[inside], expected[inside], rtol=0, atol=CACHED * np.abs(expected).max())


def check_gradients(row):
    """Scanned and rematerialised is unrolled and kept, and padding gets no say, in two compiled programs."""
    _, remat, unrolled, params = models(row, remat={"remat": True}, unrolled={"unroll": True})

    def program(model):
        def loss(params, inputs):
            logits = jax.nn.log_softmax(model.apply(params, inputs)["logits"])
            return jnp.sum(jnp.where(real()[..., None], logits, 0.0) * jnp.arange(1.0, V + 1)) / V / real().sum()

        return jax.jit(jax.value_and_grad(loss))

    scanned = program(remat)
    loss, slopes = scanned(params, padded(row, 2))
    other_loss, other_slopes = program(unrolled)(params, padded(row, 2))
    np.testing.assert_allclose(other_loss, loss, rtol=1e-4)
    for (path, one), two in zip(
        jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(other_slopes), strict=True
    ):
        # Rounding in a sum of gradients grows with its largest term, whatever is left of the sum.
        atol = 2e-4 * max(1.0, float(abs(one).max()))
        np.testing.assert_allclose(two, one, rtol=2e-3, atol=atol, err_msg=jax.tree_util.keystr(path))
    other_loss, other_slopes = scanned(params, padded(row, 19))
    assert other_loss == loss
    jax.tree.map(np.testing.assert_array_equal, other_slopes, slopes)


def name_of(row):
    return ", ".join(value for factor, value in row.items() if value != VALUES[factor][0]) or "plain"


@pytest.mark.parametrize("row", SINGLES, ids=name_of)
def test_cached_is_full_packed_is_separate_scanned_is_unrolled_and_causal_stays_causal(row):
    check_outputs(row)


@pytest.mark.parametrize("row", MIXED, ids=lambda row: row["mixer"])
def test_outputs_are_the_same_with_a_mixer_in_the_place_of_self_attention(row):
    check_outputs({**row, "kernels": "plain"})


@pytest.mark.more
@pytest.mark.parametrize("row", MIXED, ids=lambda row: row["mixer"])
def test_gradients_are_the_same_with_a_mixer_in_the_place_of_self_attention(row):
    check_gradients(row)


@pytest.mark.more
@pytest.mark.parametrize("row", PAIRS, ids=name_of)
def test_outputs_are_the_same_for_every_two_variants(row):
    check_outputs(row)


@pytest.mark.parametrize("row", core_of(SINGLES, lambda row: row == SINGLES[1]), ids=name_of)
def test_gradients_are_the_same_rematerialised_unrolled_and_with_other_padding(row):
    check_gradients(row)


@pytest.mark.full
@pytest.mark.parametrize("row", PAIRS, ids=name_of)
def test_gradients_are_the_same_for_every_two_variants(row):
    check_gradients(row)


@pytest.mark.full
@pytest.mark.parametrize("row", cover(VALUES, allowed, strength=3), ids=name_of)
def test_outputs_are_the_same_for_every_three_variants(row):
    check_outputs(row)


def test_every_allowed_pair_is_in_some_row():
    seen = {part for row in PAIRS for part in parts({factor: [value] for factor, value in row.items()}, 2)}
    assert seen == {part for part in parts(VALUES, 2) if allowed(dict(part))}
    assert len(PAIRS) < 60


@pytest.mark.parametrize(("row", "says"), NOT_ALLOWED, ids=str)
def test_variants_that_contradict_each_other_say_so(row, says):
    with pytest.raises(UserError, match=says):
        transformer.build(settings_of(row))


def test_what_has_no_parameters_of_its_own_computes_something_of_its_own():
    first = {name: values[0] for name, values in VALUES.items()}
    others = [("soft_cap", "1.5"), ("modifier", "own"), ("mask", "own"), ("position", "alibi"), ("score", "dot")]
    found = []
    for factor, value in [("score", "scaled_dot"), *others]:
        model, params = models({**first, "position": "none", factor: value})
        found.append(np.asarray(jax.jit(model.apply)(params, padded(first, 2))["logits"]))
    for one in range(len(found)):
        for two in range(one):
            assert np.abs(found[one] - found[two]).max() > 1e-3, (one, two)


EVERYTHING = {"soft_cap": "1.5", "sink": "with", "maps": "two", "modifier": "own", "query_key_norm": "rms"}


@pytest.mark.parametrize("more", [{"position": "relative", **EVERYTHING}, {"score": "position_only", "sink": "with"}])
def test_captured_weights_are_those_that_mix_the_values(more):
    row = {**{name: values[0] for name, values in VALUES.items()}, **more}
    model = transformer.build(settings_of(row))
    params = randomised(model.parameter_shapes)
    parts = ("scores", "weights", "value", "head")
    names = tuple(f"decoder.*.self.{part}" for part in parts)
    run = jax.jit(lambda p, b, names: model.apply(p, b, capture=names), static_argnums=2)
    out = run(params, padded(row, 2), names)
    scores, weights, value, head = (np.asarray(out["captured"][name]) for name in names)
    heads = BASE["num_heads"]
    assert scores.shape == (2, 3, heads * (2 if row["maps"] == "two" else 1), max(TARGETS), max(TARGETS))
    assert weights.shape == (2, 3, heads, max(TARGETS), max(TARGETS))
    mixed = np.einsum("LBNTS,LBSNH->LBTNH", weights, np.repeat(value, heads // value.shape[3], axis=3))
    np.testing.assert_allclose(head, mixed, rtol=1e-4, atol=1e-5)
    assert not weights[..., ~np.tri(max(TARGETS), dtype=bool)].any()
    assert row["maps"] == "two" or (weights.sum(-1) < 0.999).all()
    np.testing.assert_allclose(run(params, padded(row, 2), ())["logits"], out["logits"], rtol=1e-4, atol=1e-4)
