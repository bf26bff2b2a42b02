"""Flags of commands that read a trained run: where it is, and the settings of decoding in place of its own."""

import dataclasses
from typing import Any

from experiments.cli.flags import REQUIRED
from transformer import schema
from transformer.decoding import DecodingConfig
from transformer.schema import at_least, setting
from transformer.tables import Choice

LEAVES = schema.settings(DecodingConfig)
"""Settings of section `decoding`."""


def _flag(name: str, words: str | None = None) -> Any:
    """Return the flag of a setting of decoding, none by default: the run's own value."""
    leaf = LEAVES[name]
    meaning = words or f"{leaf.meaning.partition('; none:')[0]}; none: decoding.{name}"
    return setting(None, meaning, check=leaf.check, allowed=None if leaf.table else leaf.allowed, table=leaf.table)


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """The run that a command reads, and its checkpoint."""

    workdir: str = setting(REQUIRED, "working directory of the training")
    checkpoint: str | None = setting(
        None, "checkpoint to read: best, last or a step; none: the mean by training.average_last, else best"
    )
    average_last: int | None = setting(
        None,
        "number of last checkpoints to average, without --checkpoint; none: training.average_last",
        check=at_least(1),
    )
    trust_code: bool = setting(False, "consent to run code that the run's config.json names by a dotted path")


@dataclasses.dataclass(frozen=True)
class DecodingFlags:
    """Settings of decoding that a flag gives; those of one strategy alone select it."""

    strategy: Choice | None = _flag(
        "strategy", "decoding strategy; none: the one that reads the flags below, else decoding.strategy"
    )
    max_new_tokens: int | None = _flag("max_new_tokens")
    temperature: float | None = _flag("temperature")
    top_k: int | None = _flag("top_k")
    top_p: float | None = _flag("top_p")
    min_p: float | None = _flag("min_p")
    width: int | None = _flag("width")
    length_penalty: float | None = _flag("length_penalty")
    early_stopping: str | None = _flag("early_stopping")
    repetition_penalty: float | None = _flag("repetition_penalty")
    no_repeat_ngram: int | None = _flag("no_repeat_ngram")
    min_new_tokens: int | None = _flag("min_new_tokens")
    constraint: str | None = _flag("constraint")

    @property
    def given(self) -> dict[str, Any]:
        """The settings that flags have given, name -> value."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(DecodingFlags)}
        return {name: value for name, value in values.items() if value is not None}
