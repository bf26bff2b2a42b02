"""Flags of commands that read a trained run: where it is, and the settings of decoding in place of its own."""

import dataclasses
from typing import Any

from experiments.cli.flags import REQUIRED
from transformer import schema
from transformer.decoding import DecodingConfig
from transformer.leaves import Setting
from transformer.schema import at_least, setting


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """The run that a command reads, and its checkpoint."""

    workdir: str = setting(REQUIRED, "working directory of the training")
    checkpoint: str | None = setting(
        None, "checkpoint to read: best, last or a step; none: the mean by training.average_last, else best"
    )
    trust_code: bool = setting(False, "consent to run code that the run's config.json names by a dotted path")


LEAVES = schema.settings(DecodingConfig)
"""Settings of section `decoding`, each of which is a flag of the commands that write texts."""

MEANINGS = {"strategy": "decoding strategy; none: the one that reads the flags below, else decoding.strategy"}
"""Setting -> the meaning of its flag, where it is not that of the setting."""


def _flag(leaf: Setting) -> Any:
    """Return the flag of a setting of decoding, none by default: the run's own value."""
    meaning = MEANINGS.get(leaf.name, f"{leaf.meaning.partition('; none:')[0]}; none: decoding.{leaf.name}")
    return setting(None, meaning, check=leaf.check, allowed=None if leaf.table else leaf.allowed, table=leaf.table)


def _given(flags: Any) -> dict[str, Any]:
    """Return the settings of decoding that flags have given, name -> value."""
    return {name: value for name in LEAVES if (value := getattr(flags, name)) is not None}


DecodingFlags = dataclasses.make_dataclass(
    "DecodingFlags",
    [
        (
            "average_last",
            int | None,
            setting(
                None,
                "number of last checkpoints to average, without --checkpoint; none: training.average_last",
                check=at_least(1),
            ),
        ),
        *((name, leaf.type | None, _flag(leaf)) for name, leaf in LEAVES.items()),
    ],
    bases=(RunFlags,),
    frozen=True,
    namespace={"given": property(_given)},
)
"""Flags of commands that write texts: `given` has the settings of decoding among them."""
