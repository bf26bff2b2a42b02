"""The study of the cache: the readings of a tiny model, and that verdicts follow from numbers."""

import jax
import numpy as np
import pytest

from experiments.studies import cache
from experiments.studies.frame.store import plain
from experiments.studies.frame.text import same
from experiments.studies.parts import cache_claims as claims

LENGTHS = (4, 8, 96, 192)
"""Lengths n for a width of 4: up to 2 D, and from 24 D on."""


def numbers_of(error=1e-7, stale=0.05, earlier=0.0, with_cache=0.0, without=1.0, timed=True):
    n, rounds = np.array(LENGTHS, float), np.array([1.0, 1.01, 0.99, 1.0])
    row = {"error": np.full(2, error), "stale": np.full(2, stale)}
    costs = {claims.WITH: n**with_cache, claims.WITHOUT: 10.0 * n**without}
    found = {
        "differences": dict.fromkeys(cache.CASES, row),
        "rows": {"causal": np.full(2, earlier), "no mask": np.full(2, 0.1)},
        "width": 4,
        "lengths": LENGTHS,
        "operations_n": costs,
        "bytes_n": {
            "all heads": 32.0 * n,
            "one key/value head of 4": 8.0 * n,
            "window": 32.0 * np.minimum(n, 8),
            "linear attention": np.full(4, 100.0),
        },
    }
    return found | ({"seconds_nR": {name: np.outer(x, rounds) for name, x in costs.items()}} if timed else {})


def words(**changed):
    return [claim.words() for claim in claims.judge(numbers_of(**changed))]


def test_words_follow_the_numbers():
    equal, earlier, with_cache, without, size = words()
    assert equal == ["holds exactly"] * len(cache.CASES)
    assert earlier == ["holds exactly", "fails, with a counterexample"]
    assert with_cache == without == ["holds"] * 4
    assert size == ["holds exactly"] * 2 + ["fails, with a counterexample"] * 2
    assert words(error=0.01)[0] == ["fails, with a counterexample"] * len(cache.CASES)
    assert words(stale=1e-6)[0] == ["undecided"] * len(cache.CASES)
    assert words(earlier=0.1)[1][0] == "fails, with a counterexample"
    assert words(with_cache=1.0)[2] == ["fails"] * 4
    assert words(without=2.0)[3] == ["fails"] * 4
    assert [len(part) for part in words(timed=False)[2:4]] == [2, 2]


def test_texts_have_the_numbers_of_the_record():
    found = claims.judge(numbers_of(error=2e-7))
    assert all("2.0e-07" in text for text in found[0].instead)
    assert all("1,920" in text for text in found[3].instead)  # 10 n at n = 192, and 1 with a cache
    assert "not the words that the mathematics gives" in claims.judge(numbers_of(error=0.01))[0].instead.en


def test_every_case_has_a_name_in_each_language():
    names = {claims.NAMES.get(name, same(name)) for name in (*cache.CASES, *cache.CACHES)}
    assert not [name.en for name in names if name.en == name.zh and name.en != "ALiBi"]


def test_the_bytes_of_a_cache_are_its_keys_and_values():
    settings = cache.CacheSettings(lengths=(8, 128), width=8)
    found = {name: cache.cache_bytes(settings, name).tolist() for name in cache.CACHES}
    layers, both, width, of_float = 2, 2, 8, 4
    token = layers * both * width * of_float
    assert found["all heads"] == [8 * token, 128 * token]
    assert found["one key/value head of 4"] == [2 * token, 32 * token]
    assert found["window"] == [8 * token, 64 * token]
    assert found["linear attention"][0] == found["linear attention"][1]


@pytest.mark.more
@pytest.mark.parametrize("case", ["position rotary", "window of 5 tokens"])
def test_steps_are_the_full_pass_and_a_stale_cache_is_not(case):
    settings = cache.CacheSettings(length=8, prompt=2, width=8, seeds=(3,))
    model = cache._model(settings, num_heads=2, max_length=8, **cache.CASES[case])
    params_R, tokens_RBT = cache.drawn(model, settings)
    found = cache.differences(model, 2, jax.tree.map(lambda x: x[0], params_R), tokens_RBT[0])
    assert float(found["error"]) < 1e-5
    assert float(found["stale"]) > 1e-3


@pytest.mark.more
def test_earlier_keys_change_without_a_mask_alone():
    settings = cache.CacheSettings(length=8, width=8, seeds=(3,))
    assert cache.earlier_rows(settings, "causal").max() < 1e-6
    assert cache.earlier_rows(settings, "no mask").min() > 1e-3


@pytest.mark.more
def test_costs_are_measured_at_each_length():
    found = cache.costs(cache.CacheSettings(lengths=(4, 8), width=8, rounds=2))
    assert found["seconds_nR"][cache.WITH].shape == (2, 2)
    assert np.all(found["operations_n"][cache.WITHOUT] > found["operations_n"][cache.WITH])


def test_claims_of_a_record_are_those_of_the_run():
    stored, own = claims.judge(plain(numbers_of())), claims.judge(numbers_of())
    assert [(claim.words(), claim.instead) for claim in stored] == [(claim.words(), claim.instead) for claim in own]


def test_the_figure_is_drawn_with_and_without_times():
    assert [len(cache.draw(numbers_of(timed=timed)).axes) for timed in (True, False)] == [4, 3]
