"""Checkpoints of several processes: each sees the disk in its own way, and all do what the first one has found."""

import pytest

from experiments.parallel.processes import Processes
from experiments.storage import checkpoint_format
from tests.fixtures.checkpoints import bits_of, open_at, state_of


def second_of_two(answer):
    """The second of two processes; `answer` returns what the first one gives where this one gives a value."""

    class Pretended(Processes):
        def gather(self, value):
            return [answer(value), value]

    return Pretended(2, 1)


def test_a_process_that_sees_a_newer_step_restores_that_of_the_first(two):
    def answer(value):
        """Return the same, without step 20: of the steps, of [steps, best ones], and of damage."""
        if not isinstance(value, list):
            return value
        return [answer(part) for part in value] if isinstance(value[0], list) else [10]

    with open_at(two, processes=second_of_two(answer)) as checkpoints:
        assert checkpoints.steps() == [10, 20]
        assert checkpoints.latest_step() == 10
        for step in (None, "best"):
            found = checkpoints.restore(state_of(0), step)
            assert found.step == 10
            assert bits_of(found.state) == bits_of(state_of(10))


def test_a_process_that_sees_no_checkpoint_has_the_newest_step_of_the_first(tmp_path):
    with open_at(tmp_path, processes=second_of_two(lambda value: [5])) as checkpoints:
        assert checkpoints.latest_step() == 5
        assert not checkpoints.save(5, state_of(5), {})
    assert list(tmp_path.iterdir()) == []


def test_no_process_reads_arrays_where_one_has_found_a_damaged_record(two, monkeypatch):
    monkeypatch.setattr(checkpoint_format, "read_state", lambda *_: pytest.fail("the others wait"))
    answers = iter([None, "extra: Stale file handle"])
    with open_at(two, processes=second_of_two(lambda value: next(answers))) as checkpoints:
        assert checkpoints.read(20, state_of(0)) == "extra: Stale file handle"


@pytest.mark.parametrize("index", [0, 1])
def test_only_the_first_process_removes_what_a_failed_save_left(tmp_path, index):
    (tmp_path / "7").mkdir()
    with open_at(tmp_path, processes=Processes(2, index)) as checkpoints:
        checkpoints._abandon(7)
    assert (tmp_path / "7").exists() == (index == 1)
