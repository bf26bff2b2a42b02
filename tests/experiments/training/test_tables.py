"""Claims about tables on a terminal: nothing is cut, whatever the width; names are short and distinct."""

import io

import pytest
from rich.console import Console

from experiments.training.tables import add, final_table, print_table, short_names, text_table

WIDE = ["trial", "learning_rate", "num_layers", "exact_match (of answers)", "optimizer.weight_decay", "ended"]
ROWS = [
    ["0", "0.006382349", "2", "0.0333, from 0.0000 to 0.0733 (3 seeds)", "0.0001", "finished, stopped early"],
    ["11", "0.0133", "4", "[bold]:100: ?", "x" * 120, "diverged"],
]


def printed(width):
    console = Console(file=io.StringIO(), width=width)
    table = text_table("trials by exact_match", WIDE)
    for row in ROWS:
        add(table, row)
    print_table(console, table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [200, 80, 40])
def test_no_cell_and_no_heading_is_cut_however_narrow_the_terminal_is(width):
    text = printed(width)
    assert "…" not in text
    assert all(len(line) <= max(width, 40) for line in text.splitlines())
    assert text.count("x") >= 120
    words = [word for cell in [*WIDE, *ROWS[0], *ROWS[1]] for word in cell.split() if len(word) < 24]
    assert width < 80 or [word for word in words if word not in text] == []


def test_a_table_that_fits_has_a_column_for_each_key_and_numbers_on_the_right():
    console = Console(file=io.StringIO(), width=40)
    print_table(console, final_table([{"split": "test", "exact_match": 0.98765}, {"split": "train", "steps": 2000}]))
    lines = console.file.getvalue().splitlines()
    assert [cell.strip() for cell in lines[1].strip("┃").split("┃")] == ["split", "exact match", "steps"]
    assert "│ train │             │  2000 │" in lines


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["optimizer.learning_rate", "model.num_layers"], ["learning_rate", "num_layers"]),
        (["optimizer.name", "tokenizer.name", "seed"], ["optimizer.name", "tokenizer.name", "seed"]),
        (["a.b.c", "b.c", "c"], ["a.b.c", "b.c", "c"]),
        ([], []),
    ],
)
def test_a_name_is_the_shortest_end_that_no_other_has(names, short):
    assert short_names(names) == short


def test_runs_are_named_by_the_ends_of_their_paths():
    assert short_names(["runs/a/best", "runs/b/best", "runs/c"], "/") == ["a/best", "b/best", "c"]
