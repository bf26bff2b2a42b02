"""The code of pages runs as it stands, the files that they name exist, and both READMEs have the same figures."""

import re
from pathlib import Path

import pytest
import tokenizers

from tests.interop.checkpoints import checkpoint

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "docs/index.md"])
def test_the_first_ten_lines_run(name):
    (code,) = CODE.findall(text_of(name))
    assert len(code.splitlines()) <= 12
    names: dict = {}
    exec(compile(code, name, "exec"), names)
    assert names["c"].shape == (2, 5, 8, 64)


def test_the_sites_of_the_page_are_those_of_a_model():
    code, _ = CODE.findall(text_of("docs/guides/sites.md"))
    names: dict = {}
    exec(compile(code, "sites.md", "exec"), names)
    assert names["out"]["captured"]["decoder.*.cross.weights"].shape == (2, 1, 2, 4, 5)
    page = text_of("docs/guides/sites.md")
    for name in names["model"].sites(names["batch"]):
        part = name.split(".", 2)[-1] if ".*." in name else name.split(".")[-1]
        assert f"`{part}`" in page or f"`{part.replace('cross', 'self')}`" in page, name


def test_the_code_of_the_library_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = checkpoint("gpt2", tmp_path / "gpt2")
    words = tokenizers.models.WordLevel({"the": 6, "king": 7, "said": 8, "?": 9}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    blocks = CODE.findall(text_of("docs/guides/library.md") + text_of("docs/guides/hugging_face.md"))
    code = "\n".join(blocks)
    assert "attend(" in code
    assert "generate(" in code
    # GPT-2's block at a width and a vocabulary that take no time.
    small = code.replace("width=768", "width=24").replace("50257", "97")
    small = small.replace("50256", "96")
    assert small != code
    names: dict = {}
    exec(compile(small, "library.md", "exec"), names)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"`((?:transformer|experiments|configs|examples)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name


def numbers_of(text: str) -> list[str]:
    """Return the numbers of a text, without those in code."""
    return re.findall(r"\d[\d.,]*\d|\d", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL))


def test_both_readmes_have_the_same_figures():
    table = re.compile(r"\| `configs/.*")
    english, chinese = (table.findall(text_of(name)) for name in ("README.md", "README.zh.md"))
    assert len(english) == 3
    assert [sorted(numbers_of(row)) for row in english] == [sorted(numbers_of(row)) for row in chinese]
    known = set(numbers_of(text_of("docs/results.md")))
    assert {number for row in english for number in numbers_of(row)} <= known


def test_the_counts_of_the_readmes_are_those_of_the_tables():
    from transformer.interop.families import FAMILIES
    from transformer.nn.positions import POSITIONS
    from transformer.ops.scores import SCORES
    from transformer.ops.weights import WEIGHTS

    counts = [str(len(list(table))) for table in (SCORES, POSITIONS, WEIGHTS)]
    for name, line in (("README.md", "| attention |"), ("README.zh.md", "| 注意力 |")):
        (row,) = [row for row in text_of(name).splitlines() if row.startswith(line)]
        assert numbers_of(row) == counts
    assert len(FAMILIES) == 8


def test_every_row_of_the_tables_is_on_the_page_of_rows():
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
            assert f"`{row}`" in text_of("docs/rows.md")
