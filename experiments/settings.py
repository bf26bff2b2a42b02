"""A recipe and its flags -> one checked, frozen `Config`.

The schema consists of the dataclasses that lie beside the code that they configure. A recipe is a Python file whose
`get_config()` returns an `ml_collections.ConfigDict`; flags override it. Every mistake raises an error before
anything compiles or is written.
"""

import copy
import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.cli.help import help_of
from experiments.cli.names import find_in, is_own
from experiments.cli.recipes import load_recipe, put
from experiments.data.config import DataConfig
from experiments.data.tokenizers import table as tokenizers
from experiments.data.tokenizers.table import TokenizerConfig
from experiments.parallel.config import MeshConfig
from experiments.tasks.config import TaskConfig, tasks
from experiments.tasks.rows import TASKS
from experiments.training.config import TrainingConfig
from experiments.training.optimizers import OptimizerConfig
from transformer import schema
from transformer.decoding import DecodingConfig
from transformer.errors import UserError, problem
from transformer.models.config import ModelConfig
from transformer.named_code import import_code
from transformer.nn.module_rows import structure
from transformer.own_settings import extended, named_rows, without_leftovers
from transformer.read_by import Condition, conditions, unread
from transformer.schema import Setting, setting

__all__ = [
    "Config",
    "defaults",
    "find",
    "from_json_dict",
    "from_stored",
    "help_text",
    "is_own",
    "load_recipe",
    "resolve",
    "resolve_values",
    "to_json_dict",
]


TIED = Condition(
    ("task.name", "model.architecture"),
    holds=lambda task, architecture: (
        TASKS.find(task).like != "classification" or len(structure(architecture).stacks) > 1
    ),
    who=lambda task, architecture: f"a classifier of architecture '{architecture}', which has one table of embeddings",
    expected="an output of tokens, or two stacks",
    do="Leave it out.",
    part="tie_embeddings",
)
"""Condition of a table shared by source, target and output."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that defines an experiment."""

    model: ModelConfig = setting(
        ModelConfig,
        "architecture, sizes, attention, positions, norms",
        read_by=(
            tasks("classification").of("class_head"),
            tasks("text_to_text", "language_modelling").of("token_head"),
            TIED,
        ),
    )
    task: TaskConfig = setting(TaskConfig, "task that the model learns")
    data: DataConfig = setting(DataConfig, "source of examples, splits and batches")
    tokenizer: TokenizerConfig = setting(TokenizerConfig, "units of text, and vocabulary")
    optimizer: OptimizerConfig = setting(OptimizerConfig, "optimizer, learning rate and schedule")
    training: TrainingConfig = setting(
        TrainingConfig, "length of training, batch size, averages, logging and checkpoints"
    )
    decoding: DecodingConfig = setting(
        DecodingConfig, "generation of outputs", read_by=tasks("text_to_text", "language_modelling")
    )
    mesh: MeshConfig = setting(MeshConfig, "devices of one run, and what each of them has")
    seed: int = setting(0, "seed of parameters, data order and dropout", check=schema.a_seed)
    sizes_from_data: bool = setting(False, "model sizes and steps by the amount of data")

    @property
    def data_seed(self) -> int:
        """The seed of the data: its own, or that of the run."""
        return self.seed if self.data.seed is None else self.data.seed


OF_RECIPES = {"model.kernels": "fast"}
"""Settings with which every recipe starts in place of the library's defaults."""


def defaults(task: str = "text_to_text", data: str = "dates") -> ConfigDict:
    """Return all settings at their defaults, as the start of a recipe, with those of OF_RECIPES.

    Types are not held by the ConfigDict (a setting at None may be given a number); `resolve` checks them.

    Raises:
        UserError: an unknown task or data source.
    """
    config = schema.from_dict(Config, {"task": {"name": task}, "data": {"source": data}})
    config = schema.with_values(config, OF_RECIPES)
    return ConfigDict(schema.to_dict(config), type_safe=False)


def resolve(
    recipe: ConfigDict, overrides: Iterable[tuple[str, str]] = (), earlier: Mapping[str, Any] | None = None
) -> tuple[Config, list[str]]:
    """Check a recipe and its overrides; return the config, and one line for each setting of the recipe left out.

    Args:
        recipe: nested settings; an absent one takes its default. The recipe is not changed.
        overrides: full names, such as "model.width", and the text given for each; the last one of a name counts.
        earlier: the stored config of the run that goes on, whose sizes from the data stay; None: a new run.

    Raises:
        UserError: an unknown, mistyped or contradictory setting, or one given by an override that is not read.
    """
    _check_recipe(recipe)
    return _resolved(recipe, dict(overrides), schema.parse, earlier)


def resolve_values(
    recipe: ConfigDict, values: Mapping[str, Any], earlier: Mapping[str, Any] | None = None
) -> tuple[Config, list[str]]:
    """Do what `resolve` does for overrides that are values: full name -> value."""
    _check_recipe(recipe)
    return _resolved(recipe, values, schema.checked, earlier)


def _resolved(
    recipe: ConfigDict,
    overrides: Mapping[str, Any],
    read: Callable[[Any, Setting], Any],
    earlier: Mapping[str, Any] | None,
) -> tuple[Config, list[str]]:
    """Put the overrides into a recipe; `read` checks one, given its setting."""
    merged = copy.deepcopy(recipe)
    given: dict[str, Any] = {}
    for own in (False, True):  # rows first: they bring along settings of their own
        names = [name for name in overrides if is_own(name) == own]
        if not names:
            continue
        kind = extended(Config, merged.to_dict()) if own else Config
        values = {name: read(overrides[name], find(name, kind)) for name in names}
        put(merged, values)
        given |= values
    config = schema.from_dict(Config, merged.to_dict())
    import_code(config)
    config, sized = _sized(config, given, earlier)
    config, replaced = _make_way(config, given, schema.flatten(recipe.to_dict()))
    config, left_out = _leave_out_unread(config, given)
    config.model.resolved()
    tokenizers.check(config.tokenizer)
    training = config.training
    if training.batch_tokens is None and training.batch_size % training.accumulation:
        raise problem(
            "training.batch_size is not divisible by training.accumulation",
            got=f"batch_size {training.batch_size}, accumulation {training.accumulation}",
            expected="parts of equal size",
        )
    return config, sized + replaced + left_out


def _sized(config: Config, given: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> tuple[Config, list[str]]:
    """Choose sizes by the training data, where the config asks for it; return a line about those that were chosen.

    Settings that are given by flags, and those that nothing reads, stay. A run that goes on keeps the sizes that it
    has, so that other steps leave its warm-up; whether its data is the same is checked where it is opened.
    """
    data = config.data
    if not config.sizes_from_data or (data.source == "files" and data.path is None and data.source_path is None):
        return config, []  # without files the data have their own error
    from experiments.training.sizes import sizes_of  # reads data, which `--help` does not need

    values, amount = sizes_of(config, given)
    kept = schema.flatten(earlier) if earlier is not None and earlier.get("sizes_from_data") else {}
    values |= {name: schema.checked(kept[name], find(name)) for name in values if name in kept}
    not_read = unread(config)
    values = {name: value for name, value in values.items() if name not in given and name not in not_read}
    listed = ", ".join(f"{name}={schema.show(value)}" for name, value in values.items())
    line = f"sizes from the data ({amount}): {listed}. A flag takes the place of any of them."
    if kept:
        line = f"sizes from the data ({amount}), as the run has them: {listed}."
    return schema.with_values(config, values), [line]


def _check_recipe(recipe: ConfigDict) -> None:
    """Check names and types of the recipe alone, so that its mistakes are not reported as those of a flag."""
    try:
        kind = extended(Config, recipe.to_dict())
        known = {*schema.sections(kind), *schema.settings(kind)}
        for name in schema.flatten(recipe.to_dict()):
            if name not in known:
                find(name, kind)
        import_code(schema.from_dict(Config, recipe.to_dict()))
    except UserError as error:
        raise UserError(f"in the recipe: {error}") from error


def _make_way(config: Config, given: Mapping[str, Any], recipe: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Reset settings of the recipe that are read in place of a given one; return a line for each.

    Those that refer to the given one have followed it, and stay.
    """
    conditions_of = dict(conditions(config))
    ways = {name: [found for found in conditions_of[name] if found.gives_way] for name in given}
    not_read = unread(config) if any(ways.values()) else {}
    notes: dict[str, str] = {}
    for name in given:
        for other in (other for found in ways[name] for other in found.names):
            before = operator.attrgetter(other)(config)
            if other not in given and other not in not_read and before is not None and before == recipe.get(other):
                what = f"{other} = {schema.show(before)} of the recipe is left out"
                notes[other] = f"{what}: {name} is given in its place."
    return schema.with_values(config, dict.fromkeys(notes)), list(notes.values())


def _leave_out_unread(config: Config, given: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Reset settings that the config does not read to their defaults; raise the error of one that a flag gave."""
    not_read = unread(config)
    for name, value in given.items():
        if name in not_read and not not_read[name].noted:
            raise not_read[name].error(value)
    old, default = (schema.flatten(schema.to_dict(each)) for each in (config, type(config)()))
    changed = [name for name, found in not_read.items() if old[name] != default[name] and not found.quiet]
    notes = [
        f"{name} = {schema.show(old[name])} of the recipe is left out: {not_read[name].who} does not read it."
        for name in changed
        if old[name] != OF_RECIPES.get(name)
    ]
    notes += [
        f"{name} = {schema.show(old[name])} changes nothing: it is not read by {not_read[name].who}."
        for name in given
        if name in not_read and old[name] != default[name]
    ]
    values = {name: operator.attrgetter(name)(type(config)()) for name in changed}
    return _settled(schema.with_values(config, values)), notes


def _settled(config: Config) -> Config:
    """Return a config without the own settings of rows that it does not choose any more."""
    values = schema.to_dict(config)
    kept = without_leftovers(Config, values)
    return config if kept == values else schema.from_dict(Config, kept)


def find(name: str, kind: type[Config] | None = None) -> Setting:
    """Find the setting of a full name, such as "model.width".

    Args:
        kind: the schema with the own settings of the rows that a config chooses; None: the rows are not known yet, and
            an own setting is taken as a text.

    Raises:
        UserError: there is none (the error names the nearest), or it is a section.
    """
    return find_in(Config, name, kind)


def to_json_dict(config: Config) -> dict[str, Any]:
    """Convert a config to a nested dict of what JSON can hold; rows from outside become their names or paths.

    Raises:
        UserError: a row that no name or path stands for.
    """
    return named_rows(type(config), schema.to_dict(config))


def from_json_dict(values: Mapping[str, Any]) -> Config:
    """Build the config of such a dict, as `to_json_dict` returns it; code that it names is not imported.

    Raises:
        UserError: a setting that this version does not have or allow.
    """
    return schema.from_dict(Config, values, import_code=False)


def from_stored(values: Mapping[str, Any]) -> Config:
    """Build the config of a run that is stored; what is not read, which other versions allowed, is left out.

    Code that it names is imported: ask for consent first.

    Raises:
        UserError: a setting that this version does not have or allow.
    """
    return _leave_out_unread(schema.from_dict(Config, values), {})[0]


def help_text(
    section: str | None = None, overrides: Iterable[tuple[str, str]] = (), recipe: ConfigDict | None = None
) -> str:
    """Build the config's part of `--help`: the sections, or every setting of one section (or one setting).

    The own settings of the rows that a recipe and its overrides choose are listed too.

    Args:
        overrides: full names and texts.
        recipe: nested settings; None: none.

    Raises:
        UserError: an unknown section, or a row that cannot be imported.
    """
    chosen = ConfigDict(type_safe=False) if recipe is None else copy.deepcopy(recipe)
    put(chosen, {name: text for name, text in overrides if not is_own(name) and find(name).table is not None})
    return help_of(extended(Config, chosen.to_dict()), section)
