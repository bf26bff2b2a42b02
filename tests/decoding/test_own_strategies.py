"""Strategies from outside: found like every row, checked on a small example, used by the config."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from transformer import register
from transformer.decoding import STRATEGIES, DecodingConfig, Sampling, StrategyRow
from transformer.errors import UserError


class Last:
    """The last token of the vocabulary."""

    random = False

    def choose(self, logits_BV, key=None):
        return jnp.full(len(logits_BV), logits_BV.shape[-1] - 1, jnp.int32)


@dataclasses.dataclass(frozen=True)
class Settings:
    times: int = 2


@dataclasses.dataclass(frozen=True)
class Hotter:
    """Sampling at a multiple of the config's temperature."""

    settings: Settings
    temperature: float
    random = True

    def choose(self, logits_BV, key):
        return Sampling(self.settings.times * self.temperature).choose(logits_BV, key)


HOTTER = StrategyRow(Hotter, ("temperature",), settings=Settings)
PATH = "tests.decoding.test_own_strategies"


def test_a_strategy_is_found_by_path_and_by_name():
    logits = jnp.zeros((3, 5))
    assert DecodingConfig(f"{PATH}:Last").chosen().choose(logits).tolist() == [4, 4, 4]
    register("strategy", "last", Last)
    try:
        assert isinstance(DecodingConfig("last").chosen(), Last)
    finally:
        STRATEGIES.remove("last")


def test_a_strategy_reads_settings_of_the_config_and_its_own():
    made = DecodingConfig(f"{PATH}:HOTTER", temperature=0.5).chosen()
    assert (made.temperature, made.settings) == (0.5, Settings(2))
    key = jax.random.key(0)
    logits = jax.random.normal(key, (4, 9))
    assert made.choose(logits, key).tolist() == Sampling(1.0).choose(logits, key).tolist()


class Unchosen:
    random = True


class Floats(Last):
    def choose(self, logits_BV, key=None):
        return logits_BV[:, 0]


class Broken(Last):
    def choose(self, logits_BV, key=None):
        return logits_BV.missing


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Unchosen, r"makes no strategy; got .*; expected an object with choose\(logits_BV, key\) and random"),
        (Floats, "what strategy 'mine' chooses"),
        (Broken, "strategy 'mine' fails on a small example; got AttributeError"),
    ],
)
def test_what_is_no_strategy_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        register("strategy", "mine", make)
