"""Damaged and hostile data files: each is read, or refused in words, within seconds, and its texts come back."""

import gzip
import json
import random
import time

import numpy as np
import pytest

from experiments.data.config import DataConfig, FilesConfig
from experiments.data.examples import LABELS, PAIRS, TEXT, Document
from experiments.data.sources.table import load
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import TokenizerConfig, fit
from experiments.tasks import filling
from transformer.errors import LONGEST_MESSAGE, UserError

FILES = 300
SECONDS = 10.0
"""Longest time for one file, from reading it to the last tokenizer."""

POOLS = [
    range(32, 127),
    range(1, 32),
    range(0xA0, 0x250),
    range(0x300, 0x370),
    range(0x4E00, 0x4E80),
    range(0x1F600, 0x1F650),
    [0x2028, 0x2029, 0x85, 0xFEFF, 0x200B, 0x202E, 0xFFFD, 0xFFFF, 0x10FFFF, 0x0B, 0x0C, 0x1C],
]
"""Code points of a text: each text has them from one."""

TASKS = {PAIRS: "text_to_text", LABELS: "classification", TEXT: "language_modelling"}


def text_of(rng: random.Random, most: int = 12) -> str:
    pool = rng.choice([*POOLS, POOLS[0], POOLS[0]])
    return "".join(chr(rng.choice(pool)) for _ in range(rng.randint(0, most)))


def row_of(rng: random.Random, ending: str, hostile: bool) -> str:
    first, second = text_of(rng), text_of(rng)
    if not hostile:
        first, second = ("a" + "".join(text.split()) for text in (first, second))
    if ending == ".tsv":
        return f"{first}\t{second}"
    if ending != ".jsonl":
        return first
    row = {"source": first, "target": second, "text": f"{first}x", "label": rng.choice(["a", " A", 1, True])}
    if hostile and rng.random() < 0.15:
        row[rng.choice([*row])] = rng.choice([None, [], {}, 1e400, 10**40, "x" * 9999])
    return json.dumps(row, ensure_ascii=rng.random() < 0.5)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Change, delete, insert, cut or repeat some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([0, 0, 1, 2, 8])):
        at, kind = rng.randrange(len(changed) + 1), rng.random()
        some = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        if kind < 0.3:
            changed[at : at + len(some)] = some
        elif kind < 0.5:
            del changed[at : at + len(some)]
        elif kind < 0.7:
            changed[at:at] = some
        elif kind < 0.85:
            del changed[at:]
        else:
            changed[at:at] = changed[: rng.randint(0, 50)]
    return bytes(changed)


def content_of(rng: random.Random, ending: str, hostile: bool) -> bytes:
    if not hostile:
        rows = "".join(f"{row_of(rng, ending, hostile)}\n" for _ in range(rng.randint(20, 60)))
        return rows.encode(rng.choice(["utf-8", "utf-8-sig"]))
    if rng.random() < 0.1:
        return bytes(rng.randrange(256) for _ in range(rng.randint(0, 300)))
    end = rng.choice(["\n", "\n", "\r\n", "\r"])
    text = end.join(row_of(rng, ending, hostile) for _ in range(rng.randint(1, 60))) + rng.choice(["", end, end * 2])
    return damaged(rng, text.encode(rng.choice(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le"]), "surrogatepass"))


def case_of(rng: random.Random, folder, number: int) -> tuple[str, dict]:
    """Write a case's files; return the kind of data and the settings. Half of them are as they should be."""
    hostile = rng.random() < 0.5
    ending = rng.choice([".tsv", ".jsonl", *([".txt", "", ".csv"] if hostile else [])])
    path, body = folder / f"{number}{ending}", content_of(rng, ending, hostile)
    if rng.random() < 0.15:
        body = gzip.compress(body)
        path, body = path.with_name(f"{path.name}.gz"), damaged(rng, body) if hostile else body
    path.write_bytes(body)
    kind, given = rng.choice([*TASKS]), {"path": str(path)}
    if not hostile:
        return kind, {**given, "files": {"validation_share": 0.2, "test_share": rng.choice([0.0, 0.3])}}
    if kind == PAIRS and rng.random() < 0.3:
        other = folder / f"{number}.target"
        other.write_bytes(content_of(rng, "", hostile))
        given = {"source_path": str(path), "target_path": str(other)}
    files = {
        "validation_share": rng.choice([0.0, 0.05, 0.3, 0.9]),
        "test_share": rng.choice([0.0, 0.05, 0.5]),
        "split": rng.choice(["random", "tail"]),
        "format": rng.choice([None, None, None, "text", "aligned", "tsv", "jsonl"]),
    }
    return kind, {**given, "files": files}


def check(kind: str, given: dict) -> None:
    """Read the files, and write their texts with every tokenizer."""
    config = DataConfig(source="files", **{**given, "files": FilesConfig(**given["files"])})
    splits = load(config, 0, kind)
    texts = [example.text if isinstance(example, Document) else example.source for example in splits.train][:50]
    for name in ("characters", "bytes", "words", "bpe"):
        tokenizer = fit(TokenizerConfig(name=name, vocab_size=300 if name == "bpe" else None), texts)
        for text in texts:
            ids = tokenizer.encode(text)
            assert len(ids) == tokenizer.lengths([text])[0]
            assert name == "words" or tokenizer.decode(ids) == text == tokenizer.decode_after([tokenizer.begin], ids)
            assert bool(tokenizer.unknown_parts(text)) == (tokenizer.unknown in ids)
        gaps = filling.MASK_MARKER.join(text.replace(filling.MASK_MARKER, "") for text in texts[:5])
        filled = filling.fill(gaps, [[]] * gaps.count(filling.MASK_MARKER), tokenizer)
        assert filled == gaps.replace(filling.MASK_MARKER, "")
        assert TokenizerPair.from_json(TokenizerPair.of(tokenizer).to_json()).size == tokenizer.size


@pytest.mark.more
def test_any_file_is_read_or_refused_in_words(tmp_path):
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed {seed}")
    rng, accepted, longest = random.Random(seed), 0, 0.0
    for number in range(FILES):
        kind, given = case_of(rng, tmp_path, number)
        began = time.process_time()
        try:
            check(kind, given)
            accepted += 1
        except UserError as error:
            message = str(error)
            assert len(message) <= LONGEST_MESSAGE, (seed, number, kind, given)
            assert message.count("\n") <= 5, (seed, number, kind, given)
        except Exception as error:
            raise AssertionError(f"seed {seed}, file {number}: {kind} of {given}") from error
        longest = max(longest, time.process_time() - began)
    print(f"{accepted} of {FILES} files were read; the longest took {longest:.2f} s")
    assert longest < SECONDS, seed
    assert FILES // 10 < accepted < FILES, seed
