"""The facts about a run that a tracker gets when it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class RunFacts(NamedTuple):
    """The facts about a run.

    Attributes:
        workdir: its working directory.
        config: full name of each setting -> its value.
        commit: the commit of the code; None where it is not known.
    """

    workdir: Path
    config: Mapping[str, Any]
    commit: str | None = None

    @property
    def name(self) -> str:
        """The name of the run: that of its directory."""
        return self.workdir.absolute().name
