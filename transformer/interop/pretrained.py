"""Checkpoints of Hugging Face in and out.

    pretrained = load_pretrained("gpt2/")                         config.json, safetensors, tokenizer.json
    pretrained.model.apply(pretrained.params, {"target": ids})
    save_pretrained(model, params, "exported/")                   what `transformers` loads

Every tensor is accounted for, in both directions: one that is missing, that nothing reads, or that has another shape is
an error which lists them. What a family needs and no setting expresses is refused by name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from transformer.errors import problem, shorten, with_article
from transformer.interop import tensors as files
from transformer.interop.described import Checkpoint, describe, flat, head_of, open_checkpoint
from transformer.interop.families import FAMILIES
from transformer.interop.generation import Generation, generation_of
from transformer.interop.layout import places, tensors_of
from transformer.interop.new_directory import new_directory
from transformer.interop.parameters import read_parameters, shapes_of
from transformer.models.build import Model, Params
from transformer.nested import named


class Pretrained(NamedTuple):
    """A checkpoint that was loaded.

    Attributes:
        model: the model that its config is.
        params: its parameters, float32.
        tokenizer: that of tokenizer.json, with the padding and truncation that it has there; None without the file.
        config: its config.json.
        generation: how it generates by default: start and end tokens, strategy, rules.
        unused: names of tensors that belong to heads which the model does not have.
    """

    model: Model
    params: Params
    tokenizer: tokenizers.Tokenizer | None
    config: dict[str, Any]
    generation: Generation
    unused: tuple[str, ...] = ()


def load_pretrained(directory: str | os.PathLike[str], *, ignore: Sequence[str] = (), **settings: Any) -> Pretrained:
    """Load a checkpoint of Hugging Face from a directory.

    Args:
        directory: it holds config.json, model.safetensors (or model.safetensors.index.json and its files), and perhaps
            tokenizer.json and generation_config.json.
        ignore: entries of config.json that are not read though this library does not know them.
        settings: of the model, in place of those of the checkpoint: dropout=0.1, kernels="fast", dtype="bfloat16".

    Raises:
        UserError: no such directory, a damaged file, weights that are only pickled, an unknown family, an entry that no
            setting expresses, tensors that are missing, unused or of other shapes, a tokenizer that does not fit.
    """
    folder = _directory(directory)
    return read_checkpoint(folder, open_checkpoint(folder, ignore, settings))


def read_checkpoint(directory: Path, found: Checkpoint) -> Pretrained:
    """Read the parameters, the tokenizer and the defaults of generation of a checkpoint.

    Raises:
        UserError: tensors that are missing, unused or of other shapes, a damaged file, a tokenizer that does not fit.
    """
    params, unused = read_parameters(found.family, found.model, found.stored)
    tokenizer = _tokenizer(directory, found.model.config.vocab_size or 0)
    generation = generation_of(directory, found.entries)
    return Pretrained(found.model, params, tokenizer, found.entries, generation, unused)


def _directory(given: str | os.PathLike[str]) -> Path:
    """Return the directory of a checkpoint. Raises a UserError where there is none."""
    folder = Path(given)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            others = shorten(", ".join(sorted(path.name for path in folder.iterdir()))) or "an empty folder"
            raise problem(f"{folder} is no checkpoint of Hugging Face", got=others, expected="config.json in it")
        return folder
    if folder.exists():
        raise problem(f"{folder} is no directory", got="a file", expected="the directory that holds it")
    raise problem(
        f"there is no directory {str(given)!r}",
        expected="the directory of a checkpoint; nothing is downloaded",
        do=f"To download it: hf download {given} --local-dir {folder.name}",
    )


def _tokenizer(directory: Path, vocab_size: int) -> tokenizers.Tokenizer | None:
    """Read tokenizer.json, if it is there. Raises a UserError where it cannot be read or does not fit the model."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises its errors as Exception
        raise problem(f"{path} cannot be read as a tokenizer", got=shorten(str(error))) from error
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        what = f"{path} has ids beyond the model's vocabulary"
        raise problem(what, got=f"id {largest}", expected=f"below {vocab_size} (vocab_size of config.json)")
    return tokenizer


def save_pretrained(
    model: Model,
    params: Params,
    directory: str | os.PathLike[str],
    *,
    family: str | None = None,
    config: Mapping[str, Any] | None = None,
    tokenizer: tokenizers.Tokenizer | None = None,
    generation: Generation | None = None,
) -> Path:
    """Write a model as a checkpoint that `transformers` loads: config.json, model.safetensors, tokenizer.json.

    Args:
        directory: new, or an empty one. It is written beside its place and then renamed, so it is never there in part.
        family: a row of FAMILIES; None: the first that has the model's settings.
        config: further entries of config.json, such as those of a checkpoint that was loaded (ids of the start, end and
            padding tokens, labels).
        tokenizer: written as tokenizer.json.
        generation: defaults of generation, written as generation_config.json.

    Returns:
        The directory.

    Raises:
        UserError: a directory with something in it, a setting that the family does not have, arrays that do not fit.
    """
    if not isinstance(model, Model):
        do = "Write save_pretrained(model, params, directory)."
        got = with_article(type(model).__name__)
        raise problem("not a model", got=got, expected="the result of transformer.build", do=do)
    own, entries = describe(model, family)
    model._check(params)
    found, nameless = places(FAMILIES[own], shapes_of(model), flat(model.config))
    if nameless:
        raise problem(f"family {own} has no tensor for {', '.join(nameless)}", do="Choose another family.")
    arrays = {name: np.asarray(x, np.float32) for name, x in named(params).items()}
    prefix = FAMILIES[own].prefix if head_of(model.config) is None else ""
    with new_directory(directory, empty=True) as beside:
        tensors = {name.removeprefix(prefix): x for name, x in tensors_of(found, arrays).items()}
        files.write(beside / files.ONE_FILE, tensors)
        _write_json(beside / "config.json", {**(config or {}), **entries})
        if generation is not None:
            _write_json(beside / "generation_config.json", generation.entries)
        if tokenizer is not None:
            tokenizer.save(str(beside / "tokenizer.json"))
    return Path(directory)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(values), indent=2) + "\n", encoding="utf-8")
