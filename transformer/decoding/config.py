"""The table of strategies, and the settings of generation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import check_shape
from transformer.decoding.fixed_rules import MinLength
from transformer.decoding.rules import NoRepeatNgram, RepetitionPenalty, Rule
from transformer.decoding.strategies import RANGES, Beam, Greedy, Sampling, is_strategy
from transformer.errors import problem, shorten
from transformer.read_by import when_row_reads
from transformer.schema import at_least, not_empty, setting
from transformer.small_example import check_call
from transformer.tables import Choice, Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class StrategyRow(Row):
    """A row of STRATEGIES.

    Attributes:
        make: makes the strategy, an object with `choose(logits_BV, key) -> token_B` and `random`, from the settings
            that it reads, as keywords; a row with settings also takes `settings`. One that draws, whose `random` is
            True, is given each example by itself (B = 1) with a key of its own, under `jax.vmap`.
        reads: the settings of section `decoding` that it reads.
    """

    make: Callable[..., Any]
    reads: tuple[str, ...] = ()


def check_strategy(strategy: Any, what: str) -> None:
    """Check a strategy from outside: one choice on the shapes of a small example.

    Args:
        what: names it, for errors.

    Raises:
        UserError: it has not `choose` and `random`, fails, or returns something else than a token of each example.

    >>> check_strategy(Greedy(), "my strategy")
    """
    if isinstance(strategy, Greedy | Sampling | Beam):
        return
    if not is_strategy(strategy):
        expected = "an object with choose(logits_BV, key) and random, which is True or False"
        raise problem(f"{what} makes no strategy", got=shorten(repr(strategy)), expected=expected)

    def chosen(logits_BV: Array, key: Array) -> None:
        token_B = strategy.choose(logits_BV, key if strategy.random else None)
        check_shape(f"what {what} chooses", token_B, "B", {"B": 2}, jnp.integer)

    examples = jax.ShapeDtypeStruct((2, 5), jnp.float32), jax.eval_shape(jax.random.key, 0)
    check_call(what, strategy.choose, ("logits_BV", "key"), chosen, examples)


def _check_row(row: StrategyRow, what: str) -> None:
    if not row.reads:  # what others read has no value here
        check_strategy(row.make(**row.own), what)


STRATEGIES = Table(
    "strategy",
    StrategyRow,
    {
        "greedy": StrategyRow(Greedy),
        "sampling": StrategyRow(Sampling, ("temperature", "top_k", "top_p", "min_p")),
        "beam": StrategyRow(Beam, ("width", "length_penalty", "early_stopping")),
    },
    make=StrategyRow,
    check=_check_row,
    expected="a class with choose(logits_BV, key) and random, or a transformer.decoding.config.StrategyRow",
)

RULES: dict[str, Callable[[Any, tuple[int, ...]], Rule]] = {
    "repetition_penalty": lambda value, ends: RepetitionPenalty(value),
    "no_repeat_ngram": lambda value, ends: NoRepeatNgram(value),
    "min_new_tokens": lambda value, ends: MinLength(value, ends),
}
"""Setting -> the rule of its value, where it is not none; (value, end tokens) -> rule."""

STOPPING = {"full": True, "heuristic": False, "never": "never"}
"""Value of decoding.early_stopping -> that of Beam."""


def _read_by(name: str) -> Any:
    return when_row_reads("decoding.strategy", STRATEGIES, name)


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Settings of generation."""

    strategy: Choice = setting(
        "greedy",
        "choice of what is written: the likeliest next token (greedy), a random one by its probability (sampling), the"
        " best answer of several that are continued side by side (beam)",
        table=STRATEGIES,
    )
    max_new_tokens: int | None = setting(
        None, "maximum length of an answer (tokens); none: that of the longest training target", check=at_least(1)
    )
    temperature: float = setting(
        1.0,
        "divisor of the logits: below 1 likely tokens are drawn more often, above 1 less often",
        check=RANGES["temperature"],
        read_by=_read_by("temperature"),
    )
    top_k: int | None = setting(
        None,
        "number of the likeliest tokens to draw from; none: all",
        check=RANGES["top_k"],
        read_by=_read_by("top_k"),
    )
    top_p: float | None = setting(
        None,
        "total probability of the likeliest tokens to draw from; none: 1, all tokens",
        check=RANGES["top_p"],
        read_by=_read_by("top_p"),
    )
    min_p: float | None = setting(
        None,
        "least probability of a token to draw, as a share of the likeliest one's; none: 0, all tokens",
        check=RANGES["min_p"],
        read_by=_read_by("min_p"),
    )
    width: int = setting(
        4, "number of beginnings of an answer that a beam continues", check=RANGES["width"], read_by=_read_by("width")
    )
    length_penalty: float = setting(
        1.0,
        "exponent of the length that divides an answer's log-probability; 0: no division",
        check=RANGES["length_penalty"],
        read_by=_read_by("length_penalty"),
    )
    early_stopping: str = setting(
        "heuristic",
        "end of a beam search: with as many answers as its width (full); where no beginning, ended now, would be among"
        " the best (heuristic); where none could at the maximum length (never)",
        allowed=STOPPING,
        read_by=_read_by("early_stopping"),
    )
    repetition_penalty: float | None = setting(
        None,
        "divisor of positive logits, and factor of negative ones, of tokens that were written before; none: 1",
        check=RANGES["repetition_penalty"],
    )
    no_repeat_ngram: int | None = setting(
        None,
        "length of sequences of tokens that are written at most once; none: any may be repeated",
        check=RANGES["no_repeat_ngram"],
    )
    min_new_tokens: int | None = setting(
        None, "minimum length of an answer before its end token (tokens); none: 0", check=at_least(1)
    )
    constraint: str | None = setting(
        None, "regular expression that an answer matches as a whole; none: any answer", check=not_empty
    )

    def chosen(self) -> Any:
        """Return the strategy with its settings."""
        row = STRATEGIES.of(self, "strategy")
        values = {name: getattr(self, name) for name in row.reads}
        if "early_stopping" in values:
            values["early_stopping"] = STOPPING[values["early_stopping"]]
        strategy = row.make(**values, **row.own)
        check_strategy(strategy, f"decoding.strategy {str(self.strategy)!r}")
        return strategy

    def rules(self, ends: tuple[int, ...]) -> tuple[Rule, ...]:
        """Return the rules of what may be written, but the constraint, which needs the texts of the tokens.

        Args:
            ends: tokens that end an answer.
        """
        values = {name: getattr(self, name) for name in RULES}
        return tuple(RULES[name](value, ends) for name, value in values.items() if value is not None)
