"""What the tests of the user's own files share: files are written, then read by a config."""

import json

from experiments.data.files import FilesConfig
from experiments.data.sources import DataConfig, load

ROWS = [{"text": f"text {i}", "label": i % 3, "source": f"s {i}", "target": f"t {i}"} for i in range(23)]
"""Objects with the default names of fields."""


def read(kind, seed=0, files=None, **settings):
    config = DataConfig(source="files", files=FilesConfig(**(files or {})), **settings)
    return load(config, seed, kind)


def written(path, content):
    """The path as text, after writing text or bytes there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def everything(splits):
    return splits.train + splits.validation + splits.test


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)
