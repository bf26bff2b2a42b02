"""All operations of an update against XLA's own count of the unrolled program, and the parts that they belong to."""

import jax
import jax.numpy as jnp
import pytest

from experiments import settings
from experiments.costs.components import component, parameters_by_component
from experiments.costs.flops import Count, operations
from experiments.training.experiment import set_up
from tests.processes.test_commands import TINY

ARCHITECTURES = ["encoder_only", "decoder_only", "seq2seq"]
SMALL = {"model.dropout": "none", "training.accumulation": "1", "training.ema_decay": "none"}
VARIANTS = {
    "plain": SMALL,
    "dropout": {**SMALL, "model.dropout": "0.1", "training.ema_decay": "0.9"},
    "large": {**SMALL, "model.width": "192", "model.num_layers": "2", "model.dropout": "0.1"},
    "remat": {**SMALL, "model.remat": "true", "model.dropout": "0.1"},
    "gelu": {**SMALL, "model.activation": "gelu", "model.norm_placement": "post"},
    "rotary": {**SMALL, "model.position": "rotary", "model.norm": "rms"},
    "bfloat16": {**SMALL, "model.dtype": "bfloat16"},
    **{name: {**SMALL, "optimizer.name": name} for name in ("adafactor", "lion", "muon", "sgd")},
}
QUICK = [("decoder_only", "dropout")]
FULL = [
    *[(architecture, name) for architecture in ARCHITECTURES for name in ("plain", "large")],
    *[("seq2seq", name) for name in VARIANTS if name not in ("plain", "large")],
]
CASES = [*QUICK, *[pytest.param(*case, marks=pytest.mark.full) for case in FULL]]


def update_of(overrides):
    """An update and its arguments, as shapes."""
    config, _ = settings.resolve(settings.load_recipe(str(TINY)), list(overrides.items()))
    experiment = set_up(config)
    state = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    return experiment.update(), (state, experiment.task.batches.at(0), experiment.hyperparameters)


def counted_by_xla(function, *arguments):
    """XLA's count, where random bits are drawn without a loop, whose body would count once: not on a CPU."""
    counts = function.trace(*arguments).lower(lowering_platforms=("tpu",)).cost_analysis()
    return counts.get("flops", 0.0), counts.get("transcendentals", 0.0)


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_all_operations_of_an_update_are_what_xla_counts_in_the_unrolled_program(architecture, name):
    update, arguments = update_of({**VARIANTS[name], "model.architecture": architecture, "model.unroll": "true"})
    total = operations(update, *arguments).total
    flops, transcendentals = counted_by_xla(update, *arguments)
    assert total.all == pytest.approx(flops, rel=0.01)
    assert total.transcendentals == pytest.approx(transcendentals, rel=0.01)
    assert 0.2 * total.all < total.products < total.all


@pytest.mark.full
def test_layers_and_parts_of_a_batch_that_are_scanned_count_as_often_as_they_run():
    sizes = {**SMALL, "model.num_layers": "3", "model.dropout": "0.1"}
    counts = []
    for unroll, parts in (("true", "1"), ("false", "1"), ("false", "4")):
        update, arguments = update_of({**sizes, "model.unroll": unroll, "training.accumulation": parts})
        counts.append(operations(update, *arguments).total)
    assert counts[0] == counts[1]
    assert counts[2].products == counts[0].products
    assert counts[2].all == pytest.approx(counts[0].all, rel=0.02)
    assert counts[2].all > counts[0].all  # the sums over the parts


def shaped(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


X = shaped(11, 13)
EACH = {
    "elementwise": lambda x: jnp.where(x > 0, x * x + 1, -x),
    "power": lambda x: x**3 + x**5 + x**-1 + x**-2,
    "functions": lambda x: jnp.exp(x) + jnp.exp2(x) + jax.nn.sigmoid(x) + jnp.sin(x) + jax.lax.rsqrt(x) + jnp.log(x),
    "erfc": jax.lax.erfc,
    "sums": lambda x: x.sum(1) + x.max(1) + jnp.argmax(x, 1),
    "moves": lambda x: jnp.concatenate([x.T.reshape(13, 11), jnp.zeros((2, 11))])[::-1],
    "types": lambda x: x.astype(jnp.int32),
    "product": lambda x: x @ x.T,
    "scatter": lambda x: jnp.zeros((7, 13)).at[jnp.array([1, 1, 6])].add(x[:3]),
    "bits": lambda x: jax.random.bits(jax.random.key(0), (30, 50)),
    "bits of one axis": lambda x: jax.random.bits(jax.random.fold_in(jax.random.key(0), 3), (997,)),
    "two ways": lambda x: jax.lax.cond(x[0, 0] > 0, lambda y: y * 2 + y + y, lambda y: y + 1, x),
    "unread": lambda x: (jnp.tanh(x) @ x.T, x + 1)[1],
}


@pytest.mark.parametrize("name", EACH)
def test_each_kind_of_operation_counts_as_xla_counts_it(name):
    total = operations(EACH[name], X).total
    flops, transcendentals = counted_by_xla(jax.jit(EACH[name]), X)
    assert abs(total.all - flops) <= 10 + 0.002 * flops  # of single numbers, such as an index
    assert total.transcendentals == transcendentals


def test_a_program_of_several_lanes_counts_all_of_them():
    one = operations(lambda x: jnp.exp(x @ x.T), X).total
    lanes = operations(jax.vmap(lambda x: jnp.exp(x @ x.T)), shaped(7, 11, 13)).total
    assert lanes == Count(*(7 * number for number in one))


@pytest.mark.parametrize(
    ("dropout", "remat"),
    [("0.1", "false"), *(pytest.param(*case, marks=pytest.mark.full) for case in (("none", "false"), ("0.1", "true")))],
)
def test_products_and_random_bits_belong_to_the_part_that_made_them(dropout, remat):
    overrides = {**SMALL, "model.dropout": dropout, "model.remat": remat, "model.num_layers": "2"}
    update, arguments = update_of(overrides)
    parts = operations(update, *arguments).by_component
    stacks = [f"{stack}, {part}" for stack in ("encoder", "decoder") for part in ("self-attention", "feed-forward")]
    assert {name for name, count in parts.items() if count.products} == {*stacks, "decoder, cross-attention", "head"}
    assert {"encoder, norms", "decoder, norms", "embedding", "loss", "optimizer"} <= set(parts)
    rest = sum(parts[name].all for name in parts if name.endswith("other"))
    assert rest < 0.01 * sum(count.all for count in parts.values())
    batch = arguments[1]
    (B, S), T, D = batch["source"].shape, batch["target"].shape[1], 12
    assert parts["head"].products == 3 * 2 * B * T * D * arguments[0].params["embedding"]["table"].shape[0]
    if remat == "false":
        F = 4 * D
        assert parts["encoder, feed-forward"].products == 2 * 3 * 2 * B * S * 2 * D * F


def test_recurrent_layers_are_a_part_of_their_own_and_count_every_step():
    update, arguments = update_of({**SMALL, "model.architecture": "rnn_seq2seq"})
    parts = operations(update, *arguments).by_component
    products = {name: count.products for name, count in parts.items() if count.products}
    assert set(products) == {"encoder, recurrent", "decoder, recurrent", "decoder, cross-attention", "head"}
    rest = sum(parts[name].all for name in parts if name.endswith("other"))
    assert rest < 0.01 * sum(count.all for count in parts.values())
    (B, S), T = arguments[1]["source"].shape, arguments[1]["target"].shape[1]
    D, E = 12, 6
    assert products["encoder, recurrent"] == 3 * 2 * B * S * 2 * (D * 3 * E + E * 3 * E)
    assert products["decoder, recurrent"] == 3 * 2 * B * T * 3 * (D * 3 * D)  # the input, the context, the state
    held = parameters_by_component(arguments[0].params)
    assert sum(held.values()) == sum(x.size for x in jax.tree.leaves(arguments[0].params))
    assert held["encoder, recurrent"] == 2 * (D * 3 * E + E * 3 * E + 3 * E + E)


def test_names_of_modules_give_the_part_whatever_is_wrapped_around_them():
    stack = "transpose(jvp(Seq2Seq))/Seq2Seq.decode/decoder|blocks/decoder/cross/cross/cross.mix/BKGTS,BSKH->BTKGH"
    assert component(stack) == "decoder, cross-attention"
    assert component("vmap(jvp(Seq2Seq))/Seq2Seq.encode/encoder/final_norm") == "encoder, norms"
    assert component("vmap(jvp())") == "loss"
    assert component("vmap()") == "optimizer"
    assert component("jvp(Later)/encoder/lstm") == "encoder, other"


@pytest.mark.parametrize("architecture", ["decoder_only", "seq2seq"])
def test_parameters_by_part_add_up_and_are_what_the_sizes_say(architecture):
    _, (state, _, _) = update_of({**SMALL, "model.architecture": architecture, "model.num_layers": "2"})
    parts = parameters_by_component(state.params)
    assert sum(parts.values()) == sum(x.size for x in jax.tree.leaves(state.params))
    D, L = 12, 2
    assert parts["decoder, self-attention"] == L * 4 * (D * D + D)
    assert parts["decoder, feed-forward"] == L * (2 * 4 * D * D + 5 * D)
    assert parts["decoder, norms"] == 2 * D * ((3 if architecture == "seq2seq" else 2) * L + 1)
    assert parts["embedding"] == state.params["embedding"]["table"].size
    assert ("decoder, cross-attention" in parts) == (architecture == "seq2seq")


def test_a_print_within_a_program_counts_nothing():
    def printed(x):
        jax.debug.print("x {}", x)
        return jax.lax.cond(x[0] > 0, lambda x: (jax.debug.print("above 0"), x @ x)[1], lambda x: x @ x, x)

    counted = [operations(function, jnp.ones(5)).total.products for function in (printed, lambda x: x @ x)]
    assert counted == [10, 10]
