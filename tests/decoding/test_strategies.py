import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.fixtures.tiny import B, V, batch, tiny
from transformer.decoding import DecodingConfig, Greedy, Sampling, generate
from transformer.errors import UserError

STEPS = 5
KEY = jax.random.key(3)


def logits(seed, rows=3, size=11, scale=2.0):
    return (scale * np.random.default_rng(seed).normal(size=(rows, size))).astype(np.float32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max())
    return e / e.sum()


DRAWS = 20_000


def frequencies(strategy, row):
    """Count how often each token is drawn from one row of logits, each time with a key of its own."""

    def draw(key):
        return strategy.choose(jnp.array(row)[None], key)[0]

    drawn = jax.jit(jax.vmap(draw))(jax.random.split(KEY, DRAWS))
    return np.bincount(np.asarray(drawn), minlength=len(row))


def probability(counts, shares):
    """The probability of counts at least as far from their shares (chi-square); none may be of what has no share."""
    expected, kept = counts.sum() * shares, shares > 0
    assert counts[~kept].sum() == 0
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    return stats.chi2.sf(statistic, kept.sum() - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_the_softmax_over_the_temperature(temperature):
    row = logits(0, size=7)[0]
    counts = frequencies(Sampling(temperature), row)
    assert probability(counts, softmax(row / temperature)) > 0.01
    assert probability(counts, softmax(row / (1.1 * temperature))) < 1e-6  # the bound can tell them apart


def fewest(shares, p):
    """The number of the first shares that hold p together."""
    return 1 + int((np.cumsum(shares) < p).sum())


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ({"top_k": 3}, lambda shares: 3),
        ({"top_p": 0.8}, lambda shares: fewest(shares, 0.8)),
        ({"min_p": 0.4}, lambda shares: int((shares >= 0.4 * shares[0]).sum())),
        ({"top_k": 6, "top_p": 0.7, "temperature": 2.0}, lambda shares: fewest(shares[:6] / shares[:6].sum(), 0.7)),
    ],
)
def test_what_is_drawn_is_of_the_set_that_is_kept_by_the_softmax_of_it(cut, kept):
    given = logits(1, size=9)[0]
    row = given / cut.get("temperature", 1.0)
    size = kept(np.sort(softmax(row))[::-1])
    assert 1 < size < 7
    of_set = np.where(np.argsort(np.argsort(-row)) < size, row, -np.inf)  # the likeliest ones
    assert probability(frequencies(Sampling(**cut), given), softmax(of_set)) > 0.01


@settings(max_examples=50)
@given(seed=st.integers(0, 999), k=st.integers(1, 15))
def test_top_k_keeps_the_k_likeliest(seed, k):
    x = logits(seed)
    kept = np.asarray(Sampling(top_k=k).filtered(jnp.array(x)))
    for row, now in zip(x, kept, strict=True):
        assert set(np.flatnonzero(np.isfinite(now))) == set(np.argsort(-row)[:k])
        np.testing.assert_array_equal(now[np.isfinite(now)], row[np.isfinite(now)])


def smallest_set(row, p):
    """The fewest likeliest tokens that hold probability p, by trying all numbers of them."""
    share, order = softmax(row), np.argsort(-row)
    return next(set(order[:n]) for n in range(1, len(row) + 1) if share[order[:n]].sum() >= p or n == len(row))


@settings(max_examples=100)
@given(seed=st.integers(0, 999), p=st.floats(0.01, 0.999), k=st.none() | st.integers(1, 11))
def test_top_p_keeps_the_smallest_set_that_holds_the_probability_after_top_k(seed, p, k):
    x = logits(seed)
    kept = np.asarray(Sampling(top_p=p, top_k=k).filtered(jnp.array(x)))
    for row, now in zip(x, kept, strict=True):
        row = np.where(np.argsort(np.argsort(-row)) < (k or len(row)), row, -np.inf)
        shares = np.cumsum(np.sort(softmax(row))[::-1])
        if abs(shares - p).min() > 1e-5:  # else float32 decides
            assert set(np.flatnonzero(np.isfinite(now))) == smallest_set(row, p)


def test_temperature_comes_before_top_p():
    row = np.log(np.array([[0.6, 0.3, 0.1]], np.float32))
    assert np.isfinite(Sampling(1.0, top_p=0.7).filtered(jnp.array(row))).tolist() == [[True, True, False]]
    assert np.isfinite(Sampling(0.5, top_p=0.7).filtered(jnp.array(row))).tolist() == [[True, False, False]]


def test_equals_at_the_border_are_all_kept():
    row = jnp.array([[2.0, 1.0, 1.0, 0.0]])
    for strategy in (Sampling(top_k=2), Sampling(top_p=0.7)):
        assert np.isfinite(strategy.filtered(row)).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("strategy", [Sampling(1e-4), Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(3.0, 1, 0.9)])
def test_the_limits_are_greedy(strategy):
    x = jnp.array(logits(5, rows=50))
    np.testing.assert_array_equal(strategy.choose(x, KEY), Greedy().choose(x))
    assert strategy.choose(x, KEY).dtype == jnp.int32


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-37, 1e-38, 1e-40, 1e-300])
@pytest.mark.parametrize("cut", [{}, {"top_k": 2}, {"top_p": 0.9}])
def test_temperatures_near_zero_approach_greedy(temperature, cut):
    x = jnp.array([[0.0, 3.0, 1.0, 2.0], [-100.0, -3.0, -10.0, -20.0], [-1e30, 1e30, 0.0, 0.0]])
    run = jax.jit(lambda number: Sampling(number, **cut).choose(x, KEY))  # some are 0 in float32
    np.testing.assert_array_equal(Sampling(temperature, **cut).choose(x, KEY), [1, 1, 1])
    np.testing.assert_array_equal(run(temperature), [1, 1, 1])


def test_quotients_within_range_are_those_of_the_plain_division():
    x = logits(8)
    for temperature in (1e-3, 0.7, 1.0, 1e6):
        found = np.asarray(Sampling(temperature).filtered(jnp.array(x)))
        np.testing.assert_array_equal(found, np.asarray(jnp.array(x) / temperature))


def test_the_ends_of_top_p_keep_the_likeliest_and_all():
    x = jnp.array(logits(9, size=5000))
    for least in (1e-40, 1e-300):
        assert np.isfinite(Sampling(top_p=least).filtered(x)).sum(axis=1).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(Sampling(top_p=1.0).filtered(x), x)
    np.testing.assert_array_equal(Sampling(top_k=10**9).filtered(x), x)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("temperature", np.nan),
        ("temperature", jnp.array(0.0)),
        ("temperature", np.array(-1.0)),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", jnp.array(1.5)),
    ],
)
def test_a_number_outside_of_its_range_is_refused(name, number):
    with pytest.raises(UserError, match=f"{name} of sampling is out of range"):
        unchecked(**{name: number})


def unchecked(**values):
    """Sampling, without the checks of annotations that tests have and a user has not."""
    strategy = object.__new__(Sampling)
    for name, value in values.items():
        object.__setattr__(strategy, name, value)
    strategy.__post_init__()
    return strategy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", None),
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", 1j),
        ("temperature", np.ones((3, 1))),
        ("top_k", "a"),
        ("top_k", 2.5),
        ("top_p", [0.5]),
        ("top_p", np.array([0.5, 0.6])),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of sampling has the wrong type.*expected a"):
        unchecked(**{name: value})


def test_numbers_of_numpy_and_of_jax_are_numbers():
    assert unchecked(temperature=np.float32(0.5), top_k=np.int64(3), top_p=jnp.array(0.9)).top_k == 3


def test_the_same_key_draws_the_same_and_another_key_another():
    x = jnp.array(logits(6, rows=50))
    first, again, other = (Sampling().choose(x, key) for key in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_traced_temperature_is_no_other_program():
    x = jnp.array(logits(7, rows=20))
    choose = jax.jit(lambda t: Sampling(t).choose(x, KEY))
    for temperature in (0.3, 2.0):
        np.testing.assert_array_equal(choose(temperature), Sampling(temperature).choose(x, KEY))
    assert choose._cache_size() == 1


def test_settings_choose_the_strategy():
    assert DecodingConfig().chosen() == Greedy()
    sampled = DecodingConfig("sampling", temperature=0.5, top_k=3, top_p=0.9).chosen()
    assert sampled == Sampling(0.5, 3, 0.9)
    assert sampled.random
    assert not Greedy().random


@pytest.mark.parametrize("min_p", [0.05, 0.3, 1.0])
def test_min_p_keeps_what_is_likely_beside_the_likeliest(min_p):
    x = logits(8, rows=20)
    kept = np.isfinite(Sampling(min_p=min_p).filtered(jnp.array(x)))
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    np.testing.assert_array_equal(kept, shares >= np.float32(min_p))
    assert kept.any(axis=-1).all()


# Through `generate`.


@pytest.fixture(scope="module")
def written():
    """A function (strategy, key) -> tokens of a tiny decoder."""
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    run = jax.jit(
        lambda key, strategy: (
            generate(model.model, model.params, prompt, steps=STEPS, end=None, strategy=strategy, key=key).tokens
        ),
        static_argnums=1,
    )
    return lambda strategy, key=KEY: np.asarray(run(key, strategy))


def test_what_is_generated_is_a_function_of_the_key(written):
    first, again, other = written(Sampling(2.0)), written(Sampling(2.0)), written(Sampling(2.0), jax.random.key(9))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == (B, STEPS)
    assert ((first >= 0) & (first < V)).all()


def test_tokens_of_many_examples_are_drawn_from_the_distribution_of_the_model():
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": jnp.full((1, 2), 7), "target_lengths": jnp.array([2])}
    many = jax.tree.map(lambda x: jnp.repeat(x, DRAWS, axis=0), prompt)
    logits_BV = model.model.start(model.params, prompt, steps=1)[0]
    drawn = generate(model.model, model.params, many, steps=1, end=None, strategy=Sampling(4.0), key=KEY).tokens[:, 0]
    assert probability(np.bincount(drawn, minlength=V), softmax(np.asarray(logits_BV)[0] / 4.0)) > 0.01


def test_sampling_of_one_token_generates_what_greedy_does(written):
    np.testing.assert_array_equal(written(Sampling(top_k=1)), written(Greedy()))
    assert (written(Sampling(2.0)) != written(Greedy())).any()


def test_every_token_is_drawn_with_a_key_of_its_own(written):
    flat = written(Sampling(1e6))  # all tokens as likely: equal keys would draw equal ones
    assert len({tuple(column) for column in flat.T}) == STEPS
    assert len({tuple(row) for row in flat}) == B


class Own:
    """A strategy with one key for all rows that it is given."""

    random = True

    def choose(self, logits_BV, key):
        return jax.random.categorical(key, logits_BV / 2).astype(jnp.int32)


@pytest.mark.parametrize("strategy", [Sampling(2.0, top_k=9), Own()], ids=["sampling", "own"])
def test_an_example_with_a_key_of_its_own_draws_the_same_in_any_batch_and_at_any_place(strategy):
    model, keys = tiny("decoder_only", position="rotary"), jax.vmap(jax.random.key)(jnp.array([5, 9, 2]))
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}

    @jax.jit
    def run(prompt, key):
        return generate(model.model, model.params, prompt, steps=STEPS, end=None, strategy=strategy, key=key).tokens

    together = np.asarray(run(prompt, keys))
    for rows in ([2], [1], [1, 2, 0], [0, 2, 1, 1, 0]):
        rows = np.array(rows)
        found = run({name: x[rows] for name, x in prompt.items()}, keys[rows])
        np.testing.assert_array_equal(found, together[rows])
    of_one_key = run(prompt, jnp.stack([jax.random.fold_in(KEY, b) for b in range(B)]))
    np.testing.assert_array_equal(run(prompt, KEY), of_one_key)
    np.testing.assert_array_equal(run(prompt, jax.random.key_data(keys)), together)  # raw ones
    assert (of_one_key != together).any()


def test_another_number_of_keys_than_examples_is_refused():
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    says = r"another number of keys than examples; got 2 keys; expected one key, or 3: a key for each example"
    for keys in (jax.random.split(KEY, 2), jax.random.key_data(jax.random.split(KEY, 2))):
        with pytest.raises(UserError, match=says):
            generate(model.model, model.params, prompt, steps=2, end=1, strategy=Sampling(), key=keys)


def test_sampling_without_a_key_is_a_user_error():
    with pytest.raises(UserError, match=r"needs a random key; got no key.*jax.random.key"):
        Sampling().choose(jnp.array(logits(0)))
    model = tiny("decoder_only", position="rotary")
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 1, 2])}
    with pytest.raises(UserError, match=r"needs a random key; got no key"):
        generate(model.model, model.params, prompt, steps=2, end=1, strategy=Sampling())
