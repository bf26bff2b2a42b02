"""A checkpoint of Hugging Face as the origin of a run: its settings, its tokenizer, and its arrays with our ids.

    row of an array over tokens    0         1      2    3          4     5        6 + i
    row of the checkpoint's        padding   begin  end  separator  mask  unknown  i

The first six are copies of the rows of the checkpoint's own special tokens (`SPECIAL`), or the mean of all rows where
it has no such token. A tokenizer of kind "file" moves the file's ids up by 6 in the same way.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from experiments.data.stored_json import read_text
from experiments.data.tokenizers.file import TokenizerFile
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import TokenizerConfig
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens
from experiments.runs.origin import InitFrom, Source
from transformer import schema
from transformer.interop.described import OF_OTHER_HEADS, OF_TRAINING, Checkpoint, flat, open_checkpoint
from transformer.interop.layout import places, read_array
from transformer.interop.parameters import shapes_of
from transformer.interop.pretrained import read_checkpoint
from transformer.interop.tensors import read_json
from transformer.nested import named
from transformer.nn.parameter_axes import Axes

CONFIG, TOKENIZER = "config.json", "tokenizer.json"

SPECIAL = {
    "padding": ("pad",),
    "begin": ("cls", "bos", "decoder_start"),
    "end": ("eos", "sep"),
    "separator": ("sep", "eos"),
    "mask": ("mask",),
    "unknown": ("unk",),
}
"""Our special token -> the checkpoint's, the first that it has; a decoder behind an encoder has decoder_start first."""

USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "cls": ("[CLS]",),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
    "unk": ("[UNK]", "<unk>"),
}
"""Usual texts of special tokens, for a tokenizer.json whose files beside it do not name them."""


def is_pretrained(path: Path) -> bool:
    """Return whether a directory is a checkpoint of Hugging Face, by its config.json."""
    try:
        found = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "model_type" in found and "config" not in found


def settings_in(found: Checkpoint) -> dict[str, Any]:
    """Return the settings of section `model` that a checkpoint decides: full names -> values."""
    without = (*OF_OTHER_HEADS[found.head], "class_head.classes")
    return {
        f"model.{name}": value
        for name, value in flat(found.model.config).items()
        if name not in OF_TRAINING and not name.startswith(without)
    }


def settings_taken(path: Path, wish: InitFrom) -> dict[str, Any]:
    """Return the settings that a checkpoint gives to a run: full names -> values.

    The model's where all of it is taken, and the tokenizer's where an array over tokens is. With `only`, a part of
    another model may be filled, whose settings are its own.

    Raises:
        UserError: see `open_checkpoint`.
    """
    found = open_checkpoint(path)
    axes = {name: axes for name, (_, axes) in shapes_of(found.model).items()}
    over_tokens = any(wish.takes(name) and "V" in own.letters for name, own in axes.items())
    taken = {} if wish.only else settings_in(found)
    taken.pop("model.vocab_size", None)
    if over_tokens and (path / TOKENIZER).is_file():
        taken |= {f"tokenizer.{name}": value for name, value in tokenizer_section(path).items()}
        taken["model.vocab_size"] = (found.model.config.vocab_size or 0) + FIRST
    return taken


def tokenizer_section(path: Path) -> dict[str, Any]:
    """Return the settings of section `tokenizer` that go with a checkpoint."""
    return schema.to_dict(TokenizerConfig(name="file", path=str(path / TOKENIZER)))


def source_of(path: Path, family: str) -> Source:
    """Read a checkpoint as the origin of a run.

    Raises:
        UserError: see `transformer.interop.load_pretrained`.
    """
    found = open_checkpoint(path)
    loaded = read_checkpoint(path, found)
    params = {name: np.asarray(x) for name, x in named(loaded.params).items()}
    axes: dict[str, Axes] = named(loaded.model.parameter_axes(loaded.params))
    params, axes = _with_transform(found, params, axes)
    own = None
    if loaded.tokenizer is not None:
        own = TokenizerPair.of(TokenizerFile(read_text(path / TOKENIZER)))
    rows = special_rows(path, loaded.config, loaded.tokenizer, found.model.config.vocab_size or 0)
    labels = _labels(loaded.config) if found.head == "classes" else None
    order = None if labels is None else np.argsort(np.array(labels), kind="stable")
    for name, array in params.items():
        letters = axes[name].letters
        if "V" in letters:
            params[name] = with_special_rows(array, letters.index("V"), rows)
        elif "C" in letters and order is not None and len(order) == array.shape[letters.index("C")]:
            params[name] = array.take(order, axis=letters.index("C"))
    classes = None if labels is None else tuple(sorted(labels))
    return Source(params, axes, 0, own, tokenizer_section(path), classes, family, settings_in(found))


def with_special_rows(array: np.ndarray, axis: int, rows: list[int | None]) -> np.ndarray:
    """Return an array over tokens with rows in front of it: copies of its own, or the mean of all (None)."""
    mean = array.mean(axis=axis, keepdims=True)
    first = [mean if row is None else array.take([row], axis=axis) for row in rows]
    return np.concatenate([*first, array], axis=axis)


def special_rows(
    path: Path, entries: Mapping[str, Any], tokenizer: tokenizers.Tokenizer | None, size: int
) -> list[int | None]:
    """Return the checkpoint's row of each of our special tokens; None where it has no such token.

    Args:
        path: directory of the checkpoint.
        entries: its config.json.
        size: number of its rows.
    """
    ids = _special_ids(path, entries, tokenizer)
    found: list[int | None] = []
    for name in SpecialTokens.special:
        kinds = SPECIAL[name]
        if name == "begin" and entries.get("is_encoder_decoder"):
            kinds = ("decoder_start", *kinds)
        row = next((ids[kind] for kind in kinds if kind in ids), None)
        found.append(row if row is not None and 0 <= row < size else None)
    return found


def _special_ids(path: Path, entries: Mapping[str, Any], tokenizer: tokenizers.Tokenizer | None) -> dict[str, int]:
    """Return the ids of a checkpoint's special tokens by their kind."""
    texts: dict[str, list[str]] = {kind: [] for kind in USUAL}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path / name).is_file():
            own = read_json(path / name)
            for kind, found in texts.items():
                value = own.get(f"{kind}_token")
                value = value.get("content") if isinstance(value, dict) else value
                found += [value] if isinstance(value, str) else []
    generation = path / "generation_config.json"
    stored = {**entries, **(read_json(generation) if generation.is_file() else {})}
    added = () if tokenizer is None else {one.content for one in tokenizer.get_added_tokens_decoder().values()}
    ids: dict[str, int] = {}
    for kind in (*USUAL, "decoder_start"):
        value = stored.get(f"{kind}_token_id")
        value = value[0] if isinstance(value, list) and value else value
        named_here = [tokenizer.token_to_id(text) for text in texts.get(kind, ())] if tokenizer is not None else []
        usual = [tokenizer.token_to_id(text) for text in USUAL.get(kind, ()) if text in added] if tokenizer else []
        known = [one for one in (*named_here, value, *usual) if isinstance(one, int)]
        if known:
            ids[kind] = known[0]
    return ids


def _labels(entries: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the labels of a classifier in the order of its logits; None where its config does not name them."""
    labels = entries.get("id2label")
    if not isinstance(labels, Mapping) or not all(str(key).isdecimal() for key in labels):
        return None
    return tuple(str(labels[key]) for key in sorted(labels, key=int))


def _with_transform(
    found: Checkpoint, params: dict[str, np.ndarray], axes: dict[str, Axes]
) -> tuple[dict[str, np.ndarray], dict[str, Axes]]:
    """Add the map before a class head that a file without one has nevertheless, such as BERT's pooler."""
    model = None if found.head == "classes" else found.with_class_head()
    if model is None:
        return params, axes
    shapes = {name: own for name, own in shapes_of(model).items() if name.startswith("class_head.transform.")}
    settings = flat(model.config)
    for place in places(found.family, shapes, settings)[0]:
        spelled = (place.tensor.name, place.tensor.name.removeprefix(found.family.prefix))
        name = next((name for name in spelled if name in found.stored.stored), None)
        if name is not None and found.stored.stored[name].shape == place.theirs:
            params[place.path] = read_array(place, lambda _, name=name: found.stored.read(name), lambda _: np.zeros(0))
            axes[place.path] = place.axes
    return params, axes


def is_repository(name: str) -> bool:
    """Return whether a name may be that of a repository on the hub: letters, at most one slash, and no such folder.

    >>> is_repository("google/t5-small"), is_repository("./t5"), is_repository("a/b/c")
    (True, False, False)
    """
    folder, slash, last = name.partition("/")
    letters = (folder + last).translate(str.maketrans("", "", "-_."))
    return letters.isalnum() and not name.startswith(".") and not (slash and (not last or Path(folder).exists()))
