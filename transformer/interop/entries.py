"""Entries of a Hugging Face config.json, and the settings of a model that they are: read and written by one table.

    Copy("n_embd", "width")                              one entry, one setting
    Copy("hidden_act", "activation", values=NAMES)       the same, where both have names of their own
    Fixed("add_cross_attention", False)                  any other value is refused
    Rates("resid_pdrop", "attn_pdrop")                   rates of dropout: those of training, which are not read
    Joint(("layer_types", "sliding_window"), ...)        several entries together
    Unread("use_cache")                                  entries that do not change what is computed

Settings are named from section `model` on, with dots: "embedding.types".
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from transformer.errors import problem, shorten

Config = Mapping[str, Any]
"""A config.json: name of an entry -> its value."""

Settings = dict[str, Any]
"""Settings of a model: dotted name -> value."""

REQUIRED = object()
"""Default of an entry that must be there."""


@runtime_checkable
class Entry(Protocol):
    """The interface of a row: which entries it reads, and both directions."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def read(self, config: Config) -> Settings: ...

    def write(self, settings: Mapping[str, Any]) -> dict[str, Any]: ...


def refused(name: str, got: Any, expected: str) -> Exception:
    """Return the error for an entry that no setting expresses.

    >>> str(refused("rope_type", "dynamic", "default"))
    "config.json: rope_type cannot be expressed by settings of this library; got 'dynamic'; expected default"
    """
    what = f"config.json: {name} cannot be expressed by settings of this library"
    return problem(what, got=shorten(repr(got)), expected=expected)


@dataclasses.dataclass(frozen=True)
class Copy:
    """An entry that is a setting.

    Attributes:
        name: of the entry.
        setting: dotted name of the setting.
        default: value of an absent entry.
        values: value of the entry -> value of the setting; several may mean one, of which the first is written. None:
            they are the same.
        kind: type of the value, or several.
    """

    name: str
    setting: str
    default: Any = REQUIRED
    values: Mapping[Any, Any] | None = None
    kind: type | tuple[type, ...] = int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, config: Config) -> Settings:
        value = entry(config, self.name, self.default)
        if self.values is not None:
            if not isinstance(value, str | bool | None) or value not in self.values:
                raise refused(self.name, value, " or ".join(map(str, self.values)))
            return {self.setting: self.values[value]}
        kinds = self.kind if isinstance(self.kind, tuple) else (self.kind,)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, kinds) and (whole or not isinstance(value, bool) or bool in kinds)) and not (
            float in kinds and whole
        ):
            expected = " or ".join("null" if one is type(None) else one.__name__ for one in kinds)
            raise problem(f"config.json: {self.name} has another type", got=shorten(repr(value)), expected=expected)
        return {self.setting: float(value) if float in kinds and whole else value}

    def write(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        value = settings[self.setting]
        if self.values is None:
            kinds = self.kind if isinstance(self.kind, tuple) else (self.kind,)
            return {} if value is None and type(None) not in kinds else {self.name: value}
        found = [theirs for theirs, ours in self.values.items() if ours == value]
        return {self.name: found[0]} if found else {}


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An entry that must have one value; an absent one has it."""

    name: str
    value: Any

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def read(self, config: Config) -> Settings:
        value = config.get(self.name, self.value)
        if value != self.value and not (value is None and not self.value):
            raise refused(self.name, value, repr(self.value))
        return {}

    def write(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {self.name: self.value}


@dataclasses.dataclass(frozen=True)
class Joint:
    """Entries that are read and written together."""

    names: tuple[str, ...]
    read: Callable[[Config], Settings]
    write: Callable[[Mapping[str, Any]], dict[str, Any]]


class Unread:
    """Entries that do not change what is computed; nothing is written for them."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def read(self, config: Config) -> Settings:
        return {}

    def write(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {}


class Rates(Unread):
    """Rates of dropout, which belong to training: a loaded model has none. That of a model is written for all."""

    def write(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(self.names, settings["dropout"] or 0.0)


def entry(config: Config, name: str, default: Any = REQUIRED) -> Any:
    """Return the value of an entry. Raises a UserError where it is required and absent.

    >>> entry({"n_head": 3}, "n_head"), entry({}, "n_inner", None)
    (3, None)
    """
    if name in config:
        return config[name]
    if default is REQUIRED:
        raise problem(f"config.json lacks {name}", got=shorten(", ".join(config)) or "no entries", expected=name)
    return default


COMMON = Unread(
    *"""
    _name_or_path architectures model_type is_encoder_decoder tokenizer_class prefix finetuning_task
    task_specific_params id2label label2id num_labels problem_type classifier_dropout pruned_heads
    chunk_size_feed_forward dtype torch_dtype torchscript tf_legacy_loss use_bfloat16 transformers_version
    unsloth_version attn_implementation _attn_implementation_autoset gradient_checkpointing use_cache
    return_dict output_attentions output_hidden_states output_scores return_dict_in_generate initializer_range
    initializer_factor initializer_cutoff_factor init_std bos_token_id eos_token_id pad_token_id unk_token_id
    sep_token_id cls_token_id mask_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
    bad_words_ids suppress_tokens begin_suppress_tokens num_beams num_beam_groups max_length min_length
    length_penalty early_stopping do_sample temperature top_k top_p typical_p repetition_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size diversity_penalty num_return_sequences
    exponential_decay_length_penalty remove_invalid_values
    """.split()  # noqa: SIM905
)
"""Entries of every family that do not change what a model computes: training, generation, files."""


def read_all(entries: Sequence[Entry], config: Config, ignore: Sequence[str] = ()) -> Settings:
    """Return the settings that a config is.

    Args:
        ignore: entries that are not read though no row names them.

    Raises:
        UserError: an entry that no row names and that is not null or false, or one that a row refuses.

    >>> read_all([Copy("n_embd", "width")], {"n_embd": 8, "use_cache": True})
    {'width': 8}
    """
    known = {name for row in (*entries, COMMON) for name in row.names} | set(ignore)
    strange = [name for name, value in config.items() if name not in known and value not in (None, False)]
    if strange:
        raise problem(
            f"config.json has entries that this library does not express: {', '.join(strange)}",
            got=", ".join(f"{name} {shorten(repr(config[name]), 40)}" for name in strange),
            do=f"Where they change nothing that is computed, pass ignore=({strange[0]!r}, ...) to load_pretrained.",
        )
    found: Settings = {}
    for row in entries:
        found |= row.read(config)
    return found


def write_all(entries: Sequence[Entry], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that settings are.

    >>> write_all([Copy("n_embd", "width")], {"width": 8})
    {'n_embd': 8}
    """
    found: dict[str, Any] = {}
    for row in entries:
        found |= row.write(settings)
    return found
