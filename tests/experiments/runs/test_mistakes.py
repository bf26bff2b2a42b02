"""Claims about the mistakes that are printed: texts as they are, ties stated as ties."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.cli.terminal import terminal
from experiments.data.examples import Pair
from experiments.runs.mistakes import confusion_lines, groups_line, print_answer_mistakes
from experiments.training.progress import print_line


def line_of(shares: dict[str, tuple[int, int]]) -> str:
    groups = np.array([name for name, (_, size) in shares.items() for _ in range(size)])
    correct = np.array([i < right for right, size in shares.values() for i in range(size)])
    return groups_line(correct, groups)


@pytest.mark.parametrize(("right", "share"), [(0, "0%"), (4, "100%"), (2, "50%")])
def test_groups_with_one_share_are_no_hardest_groups(right, share):
    line = line_of({"am": (right, 4), "ar": (right, 4), "de": (right, 4)})
    assert line == f"no group is harder than another: all 3 at {share}"


def test_groups_that_are_as_hard_as_the_last_one_named_are_counted():
    names = ("am", "ar", "az", "be", "bg", "bn", "ca")
    line = line_of({"de": (4, 4), "fr": (3, 4)} | dict.fromkeys(names, (0, 4)))
    assert line == f"hardest groups: {', '.join(f'{name} 0% of 4' for name in names[:5])}, and 2 more at 0%"
    assert line_of({"de": (4, 4), "fr": (3, 4)}) == "hardest groups: fr 75% of 4, de 100% of 4"


def test_confusions_as_frequent_as_the_last_one_named_are_counted():
    counts = np.full((4, 4), 1) + np.diag([5, 5, 5, 5])
    counts[2, 1] = 3
    lines = confusion_lines(counts, ["[red]", "b:x:", " c", "d"])
    assert lines[0] == "   c predicted as b:x:: 3 of 11"
    assert len(lines) == 6
    assert lines[-1] == "  and 7 more as frequent as the last"
    assert confusion_lines(np.diag([3, 4]), ["a", "b"]) == []


def test_a_mistake_is_one_line_of_the_data_as_it_is(capsys):
    texts = ["ratio 1:100:3", "[red]x[/red] :smile:", "  https://a.b/?c=1  ", "год\ttab", "long " * 4000]
    pairs = [Pair(text, f"[b]{text}") for text in texts]
    evaluation = SimpleNamespace(
        matches=lambda answers, pairs: np.zeros(len(pairs), bool),
        task=SimpleNamespace(answer=lambda source, row: f"{source}[/]"),
    )
    print_answer_mistakes(terminal(), evaluation, pairs, np.zeros((len(pairs), 2), int), 9)
    expected = [f"  {text!r}: predicted {text + '[/]'!r}, reference {'[b]' + text!r}" for text in texts]
    assert capsys.readouterr().out.split("\n")[:-1] == expected


def test_a_line_keeps_every_character(capsys):
    line = "[red]a\tb\x07\x1b[31m :x: 1:100:3\u2028 " + "wide " * 4000
    print_line(terminal(), line)
    assert capsys.readouterr().out == f"{line}\n"
