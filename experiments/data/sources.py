"""Where examples come from: one row of SOURCES for each source."""

import dataclasses

from experiments.data.dates import DatesConfig, dates
from experiments.data.examples import Splits
from transformer.errors import look_up
from transformer.schema import at_least, setting

SOURCES = {"dates": dates}
"""Name -> function (DataConfig, seed) -> Splits."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is batched."""

    source: str = setting("dates", "where examples come from", allowed=SOURCES)
    examples: int = setting(100_000, "training examples drawn from a source that generates them", check=at_least(1))
    evaluation_examples: int = setting(2_000, "examples in each of validation and test", check=at_least(1))
    num_buckets: int = setting(2, "fixed lengths that batches are padded to; each compiles once", check=at_least(1))
    dates: DatesConfig = setting(DatesConfig, "the dates source")


def load(config: DataConfig, seed: int) -> Splits:
    """The examples of the config's source: a function of (config, seed) alone.

    Raises:
        UserError: an unknown source, or what the source says about its own settings.
    """
    return look_up("data source", SOURCES, config.source)(config, seed)
