"""The config.json of a checkpoint as settings of a model, and settings as a config.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformer import nested, schema
from transformer.errors import UserError, find_row, problem, shorten
from transformer.interop.entries import Settings, read_all, write_all
from transformer.interop.families import FAMILIES
from transformer.interop.family import Family
from transformer.interop.tensors import Tensors, read_json
from transformer.models.build import Model, build
from transformer.models.config import ModelConfig
from transformer.nn.module_rows import structure
from transformer.nn.positions import POSITIONS

OF_TRAINING = ("dropout", "dtype", "kernels", "unroll", "remat", "remat_policy")
"""Settings of training and of speed, which a checkpoint does not have."""

OF_OTHER_HEADS: dict[str | None, tuple[str, ...]] = {
    "tokens": ("class_head.",),
    "classes": ("token_head.",),
    None: ("class_head.", "token_head."),
}
"""Head of a model -> beginnings of the settings of heads that it does not have."""


class Checkpoint(NamedTuple):
    """A checkpoint of which the tensors are not read yet.

    Attributes:
        entries: its config.json.
        family: its family.
        head: one of `family.HEADS`.
        stored: its tensors.
        model: the model that its config is.
    """

    entries: dict[str, Any]
    family: Family
    head: str | None
    stored: Tensors
    model: Model

    def with_class_head(self) -> Model | None:
        """Return the model with a head of classes in place of its own; None where the family has none."""
        if "classes" not in self.family.architectures.values():
            return None
        return build(nested.nest(_all_settings(self.family, self.entries, "classes", self.stored)))


def open_checkpoint(directory: Path, ignore: Sequence[str] = (), settings: Mapping[str, Any] = {}) -> Checkpoint:
    """Read the config of a checkpoint, and the names of its tensors.

    Args:
        ignore, settings: as for `load_pretrained`.

    Raises:
        UserError: a damaged file, an unknown family, or an entry that no setting expresses.
    """
    entries = read_json(directory / "config.json")
    family, head = family_of(entries)
    stored = Tensors(directory)
    own = nested.nest(_all_settings(family, entries, head, stored, ignore))
    return Checkpoint(entries, family, head, stored, build({**own, **settings}))


def _all_settings(
    family: Family, entries: Mapping[str, Any], head: str | None, stored: Tensors, ignore: Sequence[str] = ()
) -> Settings:
    """Return the dotted settings that the config and the tensors of a checkpoint have."""
    of_file = {name: read(stored) for name, read in family.of_file.items()}
    return kept(settings_of(family, entries, head, ignore) | of_file, head)


def family_of(config: Mapping[str, Any]) -> tuple[Family, str | None]:
    """Return the family of a checkpoint, and the head of its model."""
    name = config.get("model_type")
    if name is None and isinstance(config.get("config"), Mapping):
        what, expected = "config.json lacks model_type: it is that of a run of `experiments`", ", ".join(FAMILIES)
        raise problem(what, expected=expected, do="A run is opened by experiments.api.open_run(directory).")
    if not isinstance(name, str):
        raise problem("config.json lacks model_type", got=shorten(repr(name)), expected=", ".join(FAMILIES))
    family = find_row("family (model_type of config.json)", FAMILIES, name)
    classes = config.get("architectures") or [next(iter(family.architectures))]
    if not isinstance(classes, list) or classes[0] not in family.architectures:
        raise problem(
            f"config.json: this architecture of {name} is not read",
            got=shorten(repr(classes)),
            expected=" or ".join(family.architectures),
        )
    return family, family.architectures[classes[0]]


def settings_of(family: Family, config: Mapping[str, Any], head: str | None, ignore: Sequence[str]) -> Settings:
    """Return the dotted settings of a checkpoint's model."""
    found = {**family.constants, **read_all(family.entries, config, ignore)}
    if head == "classes":
        labels = config.get("id2label")
        classes = len(labels) if isinstance(labels, dict) and labels else config.get("num_labels", 2)
        return {**family.classes, **found, "class_head.classes": classes}
    return found if head == "tokens" else {**found, "token_head.present": False}


def kept(settings: Settings, head: str | None) -> Settings:
    """Return the settings without those of heads that the model does not have."""
    return {
        name: value
        for name, value in settings.items()
        if not name.startswith(OF_OTHER_HEADS[head]) or name == "token_head.present"
    }


def flat(config: ModelConfig) -> Settings:
    """Return all settings of a config by their dotted names."""
    found = schema.flatten(schema.to_dict(config))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def head_of(config: ModelConfig) -> str | None:
    """Return the head of a model, one of `family.HEADS`."""
    return "classes" if config.class_head.classes is not None else "tokens" if config.token_head.present else None


def describe(model: Model, family: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return the family of a model, and its config.json.

    Raises:
        UserError: a setting that the family does not have; without a family, the settings that the nearest lacks.
    """
    if family is not None:
        find_row("family", FAMILIES, family)
    found = {name: _written(FAMILIES[name], name, model.config) for name in ([family] if family else FAMILIES)}
    for name, (entries, lacking) in found.items():
        if not lacking:
            return name, entries
    nearest = min(found, key=lambda name: ("architecture" in found[name][1], len(found[name][1])))
    lacking = found[nearest][1]
    raise problem(
        f"family {family} does not have this model" if family else "no family of Hugging Face has this model",
        got=", ".join(f"model.{name} {ours!r}" for name, (ours, _) in lacking.items()),
        expected=", ".join(f"{name} {theirs!r}" for name, (_, theirs) in lacking.items())
        + ("" if family else f" (of {nearest}, the nearest of {', '.join(FAMILIES)})"),
    )


def unwritten(config: ModelConfig) -> set[str]:
    """Return the settings that a checkpoint need not have: those of training and of speed, and those without effect."""
    found = {*OF_TRAINING, "num_layers"}
    one_stack = len(structure(config.architecture).stacks) == 1
    bounded = POSITIONS.of(config, "position").is_bounded
    return found | ({"tie_embeddings"} if one_stack else set()) | (set() if bounded else {"max_length"})


def _written(family: Family, name: str, config: ModelConfig) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """Return a model's config.json, and its settings that the family lacks, with what it has in their place."""
    settings = flat(config)
    head = head_of(config)
    if settings["architecture"] != family.constants["architecture"]:
        return {}, {"architecture": (settings["architecture"], family.constants["architecture"])}
    architecture = next((own for own, kind in family.architectures.items() if kind == head), None)
    if architecture is None:
        has = " or ".join(str(kind) for kind in dict.fromkeys(family.architectures.values()))
        return {}, {"class_head.classes" if head == "classes" else "token_head.present": (head, has)}
    entries = {**write_all(family.entries, settings), "architectures": [architecture], "model_type": name}
    if head == "classes":
        entries |= {"id2label": {str(i): f"LABEL_{i}" for i in range(config.class_head.classes or 0)}}
        entries |= {"label2id": {label: int(i) for i, label in entries["id2label"].items()}}
    try:
        again = kept(settings_of(family, entries, head, ()), head)
        of_file = {own: settings[own] for own in family.of_file}
        read = flat(build(nested.nest({**again, **of_file})).config)
    except UserError:
        return entries, _constants(settings, family) or {"": ("settings", f"settings of {name}")}
    missing = object()
    lacking = {
        own: (settings.get(own), read.get(own))
        for own in {**settings, **read}
        if own not in unwritten(config) and settings.get(own, missing) != read.get(own, missing)
    }
    return entries, lacking


def _constants(settings: Settings, family: Family) -> dict[str, tuple[Any, Any]]:
    """Return the constants of a family that a model does not have: its own value, and the family's."""
    pairs = {name: (settings.get(name), value) for name, value in family.constants.items()}
    return {name: (own, value) for name, (own, value) in pairs.items() if own != value}
