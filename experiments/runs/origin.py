"""The origin of a run: the checkpoint whose parameters it starts from, as it was asked for and as it was read."""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import settings
from experiments.comparing import configs
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.runs.parts import parts_of, within
from experiments.training.experiment import Experiment, RunData
from transformer import schema
from transformer.errors import problem
from transformer.nn.parameter_axes import Axes
from transformer.read_by import unread

FREE = (
    "model.architecture",
    "model.vocab_size",
    "model.max_length",
    "model.tie_embeddings",
    "model.token_head.present",
)
"""Settings in which a model may differ from its origin without a line about it; arrays have the other sizes."""


class InitFrom(NamedTuple):
    """The wish for an origin.

    Attributes:
        source: WORKDIR or WORKDIR@CHECKPOINT: best (the default), last or a step; or the directory of a checkpoint of
            Hugging Face.
        only: parts that are taken; none: all.
        skip: parts that are not.
        trust_code: consent to run code that the origin's config.json names.
        settings: full names of settings that are taken too -> their values.
        flag: the flag that names the source, for messages.
    """

    source: str
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    trust_code: bool = False
    settings: Mapping[str, Any] = {}
    flag: str = "init_from"

    def __str__(self) -> str:
        return f"--{self.flag}={self.source}"

    def place(self) -> tuple[Path, str]:
        """Return the directory and the checkpoint."""
        path, at, checkpoint = self.source.rpartition("@")
        if not at or Path(self.source).is_dir():
            return Path(self.source).absolute(), "best"
        return Path(path).absolute(), checkpoint

    def record(self) -> dict[str, Any]:
        """Return the wish as config.json has it."""
        path, checkpoint = self.place()
        return {"workdir": str(path), "checkpoint": checkpoint, "only": list(self.only), "skip": list(self.skip)}

    def takes(self, name: str) -> bool:
        """Return whether an array of this name is taken."""
        return (not self.only or within(name, self.only)) and not within(name, self.skip)


class Source(NamedTuple):
    """A checkpoint that was read: of a run, or of Hugging Face.

    Attributes:
        params: its arrays by name.
        axes: their axes.
        step: number of its updates.
        tokenizers: its tokenizers; None where it has none.
        tokenizer: settings of section `tokenizer` that go with them, as JSON has them.
        classes: its labels, in the order of axis C; None where it is no classifier.
        family: row of `transformer.interop.FAMILIES`; None: a run.
        settings: full names of the settings of its model -> their values; those of a run are not listed.
    """

    params: Mapping[str, np.ndarray]
    axes: Mapping[str, Axes]
    step: int
    tokenizers: TokenizerPair | None
    tokenizer: dict[str, Any]
    classes: tuple[str, ...] | None
    family: str | None = None
    settings: Mapping[str, Any] = {}


class Origin(NamedTuple):
    """An origin that was read.

    Attributes:
        wish: what was asked for.
        source: the checkpoint.
        params: the arrays that are taken, by name.
    """

    wish: InitFrom
    source: Source
    params: dict[str, np.ndarray]

    def over(self, axis: str) -> list[str]:
        """List the arrays that are taken and have an axis: "V" of tokens, "C" of labels."""
        return [name for name in self.params if axis in self.source.axes[name].letters]

    @property
    def record(self) -> dict[str, Any]:
        """The record for config.json: the wish, the step, and the CRC-32 of the arrays that are taken."""
        crc = 0
        for name, array in sorted(self.params.items()):
            crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(name.encode(), crc))
        record = {**self.wish.record(), "step": self.source.step, "checksum": crc}
        record["tokenizers_kept"] = bool(self.over("V"))
        if self.source.family is not None:
            record |= {"family": self.source.family, "settings": settings_to_json(self.wish.settings)}
        return record

    def run_data(self, config: Any) -> RunData | None:
        """Return the tokenizers that a run of this config keeps; None where it takes no array over tokens.

        Raises:
            UserError: the config asks for another tokenizer, or the origin has none.
        """
        over_tokens = self.over("V")
        if not over_tokens:
            return None
        if self.source.tokenizers is None:
            raise problem(
                f"{self.wish} has no tokenizer, without which its arrays over tokens mean nothing",
                expected="tokenizer.json in it",
                do=f"Add the file{self.or_fresh(over_tokens)}.",
            )
        new = settings.to_json_dict(config)
        found = configs.differences({**new, "tokenizer": self.source.tokenizer}, new)
        changed = [one for one in found if one[0].startswith("tokenizer.") and one[3]]
        if changed:
            raise problem(
                f"{self.wish} is a run of another tokenizer, whose ids mean other texts",
                got=", ".join(f"{name} {value!r}" for name, _, value, _ in changed),
                expected=", ".join(f"{name} {value!r}" for name, value, _, _ in changed),
                do=f"Take its tokenizer{self.or_fresh(over_tokens)}.",
            )
        return RunData(self.source.tokenizers, {})

    def same_labels(self, experiment: Experiment) -> bool:
        """Return whether a run has the labels of the origin."""
        return self.source.classes == experiment.task.classes

    def taken(self, experiment: Experiment) -> dict[str, np.ndarray]:
        """Return the arrays that a run takes: not those over other labels, where they may start fresh."""
        if self.source.family is None or self.same_labels(experiment):
            return self.params
        over_labels = self.over("C")
        return {name: array for name, array in self.params.items() if name not in over_labels}

    def or_fresh(self, names: Iterable[str]) -> str:
        """Return the other advice: the flag with which these arrays start fresh, beside those that do already."""
        parts = dict.fromkeys([*self.wish.skip, *parts_of(names)])
        return f", or start these fresh: --init_skip={','.join(parts)}" if self.wish.flag == "init_from" else ""


def settings_to_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON has them.

    >>> settings_to_json({"model.window": (3, None)})
    {'model.window': [3, None]}
    """
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def settings_lines(config: Any, origin: Origin) -> list[str]:
    """Write a line about the settings that a run has from its origin, and one about those in which it differs."""
    values = schema.flatten(settings.to_json_dict(config))
    default = schema.flatten(settings.to_json_dict(settings.Config()))
    wish, theirs = settings_to_json(origin.wish.settings), settings_to_json(origin.source.settings)
    taken = [name for name, value in wish.items() if values.get(name) == value != default.get(name)]
    not_read = unread(config)
    other = [
        name
        for name, value in theirs.items()
        if values.get(name) != value and name not in not_read and not name.startswith(FREE)
    ]
    lines = []
    if taken:
        listed = ", ".join(f"{name} {schema.show(values[name])}" for name in taken)
        lines.append(f"Settings from {origin.wish.source}: {listed}")
    if other:
        listed = ", ".join(
            f"{name} {schema.show(values.get(name))} ({schema.show(theirs[name])} there)" for name in other
        )
        lines.append(f"Settings that differ from those of {origin.wish.source}: {listed}")
    return lines
