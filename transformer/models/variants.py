"""Settings of the variants of attention that are not often typed, and which variants contradict each other.

A contradiction is a row of CONTRADICTIONS: when it holds, and what its error says. A pair of variants that no row names
may be combined.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from transformer.errors import problem
from transformer.nn.positions import POSITIONS
from transformer.nn.user_functions import mask_function, score_modifier
from transformer.ops.norms import NORMS
from transformer.ops.scores import find
from transformer.schema import Check, above, at_least, setting


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """What stands between queries, keys and weights."""

    query_key_norm: str | None = setting(None, "norm of each head's queries and keys; none: no norm", allowed=NORMS)
    soft_cap: float | None = setting(None, "scores become cap tanh(scores / cap); none: as they are", check=above(0))
    sink: bool = setting(False, "a learned logit of each head takes weight and gives nothing")
    differential: bool = setting(False, "the difference of two softmaxes, of the halves of each head")
    score_modifier: str | None = setting(
        None, "self-attention: package.module:function of (scores_BNTS, query_positions, key_positions)"
    )
    mask: str | None = setting(
        None, "self-attention: package.module:function of (query_positions, key_positions), true where a key is seen"
    )


@dataclasses.dataclass(frozen=True)
class RelativeConfig:
    """How distances share buckets."""

    buckets: int = setting(
        32,
        "M, buckets of distances, for position=relative and score=position_only",
        check=Check(lambda value: value >= 4 and value % 2 == 0, "an even number of at least 4"),
    )
    max_distance: int | None = setting(
        None, "position=relative: all beyond share a bucket, in tokens; none: 4 x buckets", check=at_least(1)
    )

    def resolved(self) -> "RelativeConfig":
        """With `max_distance` filled in, in the proportion of T5: 32 and 128."""
        return dataclasses.replace(self, max_distance=self.max_distance or 4 * self.buckets)


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """A row: `holds` of a config that contradicts itself, and the parts of the error."""

    holds: Callable[[Any], bool]
    what: str
    got: Callable[[Any], str]
    expected: str


def _widths(config: Any) -> bool:
    """Whether the score has parameters of a head's width."""
    return any("H" in row.axes.split() for row in find(config.score).parameters.values())


def _content(config: Any) -> bool:
    return find(config.score).reads_content


def _lists(config: Any) -> dict[str, int]:
    """Settings that are given for each layer, and for how many."""
    return {name: len(x) for name in ("window", "rotary_base") if isinstance(x := getattr(config, name), tuple)}


def _layers(config: Any) -> set[int]:
    """The numbers of layers of the stacks."""
    return {config.num_encoder_layers or config.num_layers, config.num_decoder_layers or config.num_layers}


CONTRADICTIONS = {
    "settings of each layer, another number of layers": Contradiction(
        lambda config: any(_layers(config) != {length} for length in _lists(config).values()),
        "a setting is given for another number of layers than there are",
        lambda config: ", ".join(f"model.{name} of {length}" for name, length in _lists(config).items()),
        "one value, or one for each layer of every stack",
    ),
    "fewer distances than buckets": Contradiction(
        lambda config: POSITIONS[config.position].learns and config.relative.max_distance < config.relative.buckets,
        "buckets of distances would hold nothing",
        lambda config: f"model.relative.buckets {config.relative.buckets}, max_distance {config.relative.max_distance}",
        "a max_distance of at least the buckets",
    ),
    "a score without content, norms of queries and keys": Contradiction(
        lambda config: not _content(config) and config.attention.query_key_norm is not None,
        "norms of queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.attention.query_key_norm {config.attention.query_key_norm}",
        "a score of queries and keys, or query_key_norm none",
    ),
    "a score without content, two maps": Contradiction(
        lambda config: not _content(config) and config.attention.differential,
        "the two maps of differential attention are equal where the score does not read queries and keys",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score of queries and keys, or differential false",
    ),
    "a score with parameters of a head's width, two maps": Contradiction(
        lambda config: config.attention.differential and _widths(config),
        "differential attention halves the width of queries and keys, which the score has parameters for",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score without them, or differential false",
    ),
    "two maps, an odd width": Contradiction(
        lambda config: config.attention.differential and config.head_width % 2 == 1,
        "differential attention takes the two halves of each head",
        lambda config: f"head_width {config.head_width}",
        "even",
    ),
    "two maps that are turned, a width that is no multiple of 4": Contradiction(
        lambda config: (
            config.attention.differential and POSITIONS[config.position].rotates and config.head_width % 4 != 0
        ),
        "rotary positions turn pairs of entries in each half of a head of differential attention",
        lambda config: f"head_width {config.head_width}",
        "a multiple of 4",
    ),
    "a score without content, positions that turn queries and keys": Contradiction(
        lambda config: not _content(config) and POSITIONS[config.position].rotates,
        "positions that turn queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.position {config.position}",
        "a score of queries and keys, or another position",
    ),
}


def check_variants(config: Any) -> None:
    """Raises a UserError if variants of a resolved ModelConfig contradict each other, or cannot be imported."""
    for row in CONTRADICTIONS.values():
        if row.holds(config):
            raise problem(row.what, got=row.got(config), expected=row.expected)
    if config.attention.score_modifier is not None:
        score_modifier(config.attention.score_modifier)
    if config.attention.mask is not None:
        mask_function(config.attention.mask)
