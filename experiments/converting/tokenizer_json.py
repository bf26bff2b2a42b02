"""Our tokenizers as a tokenizer.json of Hugging Face, with the ids of ours.

    id 0 .. 5      <padding> <begin> <end> <separator> <mask> <unknown>, special tokens of the file
    id 6 + i       the piece i of bpe or of a given file; a character, a word or a byte

The file's post-processor puts the special tokens around a text that the task puts there. Unlike ours, such a tokenizer
makes special tokens from a text that names them, and drops the empty words beside spaces.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import processors

from experiments.data.tokenizers.bytes import BYTE_OF, Bytes
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.subwords import Subwords
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens, Tokenizer
from experiments.data.tokenizers.words import Words
from experiments.tasks.task import Task
from transformer.errors import UserError

Description = dict[str, Any]
"""The content of a tokenizer.json."""

PROBES = ("a b", "Hello, World: 12.5!", "h\u00e9\u00df\u4e2d \U0001f600", "\ta\nb")
"""Texts that the file must read as the tokenizer does."""

NO_FILE = "tokenizer.json is not written: {}"


def exported(task: Task) -> tuple[tokenizers.Tokenizer | None, dict[str, str], str | None]:
    """Return a run's tokenizer as one of the library, the texts of the special tokens, and a line where it has none."""
    pair = task.tokenizers
    if not pair.shared:
        return None, {}, NO_FILE.format("source and target have one tokenizer each, and a file holds one")
    description = _description(pair.source)
    if description is None:
        return None, {}, NO_FILE.format("no file of Hugging Face can hold a tokenizer of this kind")
    texts = _special_texts(description)
    before, behind = around(task)
    library = _built(description, texts, before, behind)
    if library is None or not _reads_alike(library, pair, before, behind):
        return None, {}, NO_FILE.format("it would read some texts as other ids")
    return library, texts, None


def around(task: Task) -> tuple[list[int], list[int]]:
    """Return the special ids that a task puts before and behind the ids of a text."""
    text, make = "a", task.prompts if task.classes is None else task.questions
    if task.mask_marker is not None:
        return [], []
    try:
        batch, (ids,) = next(iter(make([text], 1))), task.read([text])
    except UserError:
        return [], []
    side = "source" if "source" in batch else "target"
    row = np.asarray(batch[side])[0][: int(batch[f"{side}_lengths"][0])].tolist()
    own = ids.tolist()
    at = next((i for i in range(len(row)) if row[i : i + len(own)] == own), None)
    return ([], []) if at is None else (row[:at], row[at + len(own) :])


def _description(tokenizer: Tokenizer) -> Description | None:
    """Return the file of a tokenizer, without its special tokens around a text; None for an unknown kind."""
    if isinstance(tokenizer, Subwords):
        return _moved(json.loads(tokenizer.description))
    if isinstance(tokenizer, Characters):
        split = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
        return _of_words(tokenizer.alphabet, split, {"type": "Fuse"})
    if isinstance(tokenizer, Words) and "" not in tokenizer.words:
        split = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}
        return _of_words(tokenizer.words, split, None)
    if isinstance(tokenizer, Bytes):
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        model = {"type": "BPE", "vocab": {name: FIRST + byte for name, byte in BYTE_OF.items()}, "merges": []}
        return {
            "model": model,
            "pre_tokenizer": {"type": "ByteLevel", **level},
            "decoder": {"type": "ByteLevel"} | level,
        }
    return None


def _of_words(pieces: Sequence[str], split: Description, decoder: Description | None) -> Description:
    """Return the file of a list of pieces, of which the others are unknown."""
    vocab = {piece: FIRST + i for i, piece in enumerate(pieces)}
    return {"model": {"type": "WordLevel", "vocab": vocab}, "pre_tokenizer": split, "decoder": decoder}


def _moved(description: Description) -> Description:
    """Return a file with all its ids moved up by 6, and room for ours."""
    model, added = {**description["model"]}, description.get("added_tokens") or []
    added = [{**token, "id": token["id"] + FIRST} for token in added]
    if isinstance(model["vocab"], Mapping):
        vocab = {piece: number + FIRST for piece, number in model["vocab"].items()}
        model["vocab"] = vocab | {token["content"]: token["id"] for token in added if token["content"] not in vocab}
    elif model.get("unk_id") is not None:
        model["unk_id"] += FIRST
    return {**description, "model": model, "added_tokens": added, "truncation": None, "padding": None}


def _special_texts(description: Description) -> dict[str, str]:
    """Choose the texts of our special tokens, none of which is a token of the file already."""
    vocab = description["model"]["vocab"]
    known = {*(vocab if isinstance(vocab, Mapping) else (piece for piece, _ in vocab))}
    known |= {token["content"] for token in description.get("added_tokens", [])}
    texts = {}
    for name in SpecialTokens.special:
        text = f"<{name}>"
        while text in known:
            text = f"<{text}>"
        texts[name] = text
    return texts


def _built(
    description: Description, texts: Mapping[str, str], before: Sequence[int], behind: Sequence[int]
) -> tokenizers.Tokenizer | None:
    """Build the library's tokenizer of a file and our special tokens; None where it refuses them."""
    model = {**description["model"]}
    own = {text: i for i, text in enumerate(texts.values())}
    if isinstance(model["vocab"], Mapping):
        model["vocab"] = {**own, **model["vocab"]}
    else:
        model["vocab"] = [*([text, 0.0] for text in own), *model["vocab"]]
    if model["type"] == "WordLevel" and "unk_token" not in model:
        model["unk_token"] = texts["unknown"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": text, **plain} for text, i in own.items()]
    whole = {
        **dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "decoder")),
        "version": "1.0",
        **description,
        "model": model,
        "added_tokens": [*added, *description.get("added_tokens", [])],
        "post_processor": None,
    }
    try:
        library = tokenizers.Tokenizer.from_str(json.dumps(whole))
    except Exception:  # the library raises its errors as Exception
        return None
    if before or behind:
        names = list(texts.values())
        template = [*(names[i] for i in before), "$A", *(names[i] for i in behind)]
        used = [(names[i], i) for i in sorted({*before, *behind})]
        library.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    return library


def _reads_alike(
    library: tokenizers.Tokenizer, pair: TokenizerPair, before: Sequence[int], behind: Sequence[int]
) -> bool:
    """Return whether the file reads texts as the tokenizer and the task do."""
    for text in PROBES:
        try:
            ids = pair.source.encode(text).tolist()
        except UserError:  # a model that has no token for it
            continue
        if library.encode(text).ids != [*before, *ids, *behind]:
            return False
    return True
