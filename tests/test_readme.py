"""The README's code runs as it stands, and the files that it names exist."""

import re
from pathlib import Path

import pytest
import tokenizers

from tests.interop.checkpoints import checkpoint

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = checkpoint("gpt2", tmp_path / "gpt2")
    words = tokenizers.models.WordLevel({"the": 6, "king": 7, "said": 8, "?": 9}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = "\n".join(block for block in blocks if "experiments" not in block)  # those have a run, in test_api
    assert "attend(" in code
    assert "generate(" in code
    # GPT-2's block at a width and a vocabulary that take no time.
    small = code.replace("width=768", "width=24").replace("50257", "97")
    small = small.replace("50256", "96")
    assert small != code
    names: dict = {}
    exec(compile(small, "README.md", "exec"), names)
    assert names["c"].shape == (2, 5, 8, 64)
    assert names["w"].shape == (2, 8, 5, 5)
    assert names["out"]["logits"].shape == (2, 7, 97)
    assert names["digits"].shape == (2, 20)
    assert names["weights"].shape == (12, 2, 12, 20, 27)
    assert names["written"].tokens.shape == (1, 4)
    assert names["maps"]["decoder.*.self.weights"].shape == (2, 1, 3, 3, 3)
    assert sorted(path.name for path in Path("mine").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert names["answers"].shape == (2, 2, 20)


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)|`((?:transformer|experiments|configs)/[\w/.]+)`", README))
def test_files_that_the_readme_names_exist(path):
    assert (ROOT / (path[0] or path[1])).exists()


def test_every_row_of_the_tables_is_in_the_readme():
    from experiments.data.sources.table import SOURCES
    from experiments.data.tokenizers.table import TOKENIZERS
    from experiments.tasks.rows import OBJECTIVES, TASKS
    from experiments.training.optimizers import OPTIMIZERS
    from experiments.training.schedules import SCHEDULES
    from transformer.decoding import STRATEGIES
    from transformer.nn.block_layout import BLOCK_LAYOUTS
    from transformer.nn.feed_forward import ACTIVATIONS
    from transformer.nn.heads import POOLING
    from transformer.nn.mixers import MIXERS
    from transformer.nn.module_rows import FEED_FORWARDS, STRUCTURES
    from transformer.nn.positions import POSITIONS
    from transformer.ops.norms import NORMS
    from transformer.ops.scores import SCORES
    from transformer.ops.weights import WEIGHTS

    ours = (SOURCES, TOKENIZERS, TASKS, OBJECTIVES, OPTIMIZERS, SCHEDULES, STRATEGIES)
    for table in (
        *ours,
        STRUCTURES,
        POOLING,
        ACTIVATIONS,
        MIXERS,
        FEED_FORWARDS,
        POSITIONS,
        NORMS,
        BLOCK_LAYOUTS,
        SCORES,
        WEIGHTS,
    ):
        for row in table:
            assert f"`{row}`" in README
