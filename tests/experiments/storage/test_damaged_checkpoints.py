"""Damaged checkpoints are noticed, and the one before is used."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.storage import checkpoint_format, checksums
from tests.fixtures.checkpoints import bits_of, open_at, state_of
from tests.fixtures.speeds import more
from transformer.errors import UserError

FILES_OF_A_CHECKPOINT = ("_CHECKPOINT_METADATA", "extra/metadata", "state/_METADATA", "state/manifest.ocdbt")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [more(truncate), more(empty), flip, more(Path.unlink)])
def test_whichever_file_of_the_newest_is_damaged_the_one_before_is_used(two, tmp_path, harm):
    files = sorted(p.relative_to(two) for p in (two / "20").rglob("*") if p.is_file() and p.name != checksums.NAME)
    assert {f"20/{name}" for name in FILES_OF_A_CHECKPOINT} <= {str(name) for name in files}
    for number, name in enumerate(files):
        directory, lines = tmp_path / str(number), []
        shutil.copytree(two, directory)
        harm(directory / name)
        with open_at(directory, lines) as checkpoints:
            assert checkpoints.latest_step() == 20
            step, restored, extra = checkpoints.restore(state_of(0))
            assert (step, extra) == (10, {"step": 10}), name
            assert bits_of(restored) == bits_of(state_of(10))
            assert len(lines) == 1
            assert lines[0].startswith("checkpoint 20 is damaged ("), lines
            assert "using checkpoint 10 instead" in lines[0]
            assert harm not in (truncate, empty) or " bytes of " in lines[0]
            assert (directory / "damaged-20").is_dir()
            if number == 0:
                assert checkpoints.save(20, state_of(21), {"step": 21})
                checkpoints.wait()
                assert bits_of(checkpoints.restore(state_of(0)).state) == bits_of(state_of(21))
        shutil.rmtree(directory)


def without_sums_of_arrays(checkpoint):
    """Rewrite the record of a checkpoint as earlier versions had it."""
    file = checkpoint / "extra" / "metadata"
    record = json.loads(file.read_text())
    del record["sums"], record["crc"]
    file.write_text(json.dumps(record))


def test_a_checkpoint_carries_its_checksums_and_an_earlier_one_without_any_is_named_once(two, tmp_path, lines):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    shutil.rmtree(directory / "checksums")  # as in a copy of the steps alone
    flip(next((directory / "20" / "state" / "d").iterdir()))
    with open_at(directory, lines) as checkpoints:
        assert checkpoints.restore(state_of(0)).step == 10
    assert "20 is damaged" in lines.pop()
    (directory / "10" / checksums.NAME).unlink()
    with open_at(directory, lines) as checkpoints:
        assert bits_of(checkpoints.restore(state_of(0)).state) == bits_of(state_of(10))
    assert lines == []  # its record has the sums of its arrays
    without_sums_of_arrays(directory / "10")
    with open_at(directory, lines) as checkpoints:
        for _ in range(2):
            assert bits_of(checkpoints.restore(state_of(0)).state) == bits_of(state_of(10))
    assert lines == ["checkpoint 10 has no checksums: it is used, but damage to its files would not show"]


def test_a_checkpoint_of_earlier_versions_has_its_checksums_beside(two, tmp_path, lines):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    for step in (10, 20):
        (directory / str(step) / checksums.NAME).unlink()
    with open_at(directory) as checkpoints:
        assert checkpoints.restore(state_of(0)).step == 20
    flip(next((directory / "20" / "state" / "d").iterdir()))
    with open_at(directory, lines) as checkpoints:
        assert checkpoints.restore(state_of(0)).step == 10


def test_a_record_that_has_changed_is_damage_without_any_checksums(two, tmp_path, lines):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    shutil.rmtree(directory / "checksums")
    (directory / "20" / checksums.NAME).unlink()
    record = directory / "20" / "extra" / "metadata"
    for old, new in (('"step": 20', '"step": 21'), ('"extra"', '"extrb"'), ('"arrays": {', '"arrays": [{')):
        text = record.read_text()
        assert text.count(old) == 1
        record.write_text(text.replace(old, new))
        with open_at(directory, lines, read_only=True) as checkpoints:
            assert checkpoints.restore(state_of(0)).step == 10
        assert "checkpoint 20 is damaged (" in lines[-1]
        record.write_text(text)


def test_an_array_of_another_sum_than_its_record_has_is_damage(two):
    sums = checkpoint_format.read_record(two / "20")["sums"]
    assert sums.keys() == checkpoint_format.shapes(state_of(20)).keys()
    for name in sums:
        with pytest.raises(checkpoint_format.DamagedError, match=f"state: {name} has changed since it was saved"):
            checkpoint_format.read_state(two / "20", state_of(0), {**sums, name: sums[name] ^ 1})


@pytest.mark.parametrize("harm", [truncate, empty, flip, Path.unlink])
def test_damaged_checksums_never_let_damaged_arrays_through(two, tmp_path, harm):
    shutil.copytree(two, tmp_path / "c")
    harm(tmp_path / "c" / "checksums" / "20.json")
    lines = []
    with open_at(tmp_path / "c", lines) as checkpoints:
        step, restored, _ = checkpoints.restore(state_of(0))
    assert bits_of(restored) == bits_of(state_of(step))
    assert [step, len(lines)] == ([20, 0] if harm is Path.unlink else [10, 1])


def test_a_deleted_newest_checkpoint_is_noticed_and_the_one_before_used(two, tmp_path, lines):
    shutil.copytree(two, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "20")
    with open_at(tmp_path / "c", lines) as checkpoints:
        assert checkpoints.restore(state_of(0)).step == 10
    assert len(lines) == 1
    assert "checkpoint 20 has been deleted" in lines[0]
    assert "the newest is now 10" in lines[0]


def test_a_reader_moves_nothing_and_a_step_asked_for_by_number_is_not_replaced(two, tmp_path, lines):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    flip(directory / "20" / "extra" / "metadata")
    before = sorted(directory.rglob("*"))
    with open_at(directory, lines, read_only=True) as checkpoints:
        assert checkpoints.restore(state_of(0)).step == 10
        with pytest.raises(UserError, match="20 is damaged"):
            checkpoints.restore(state_of(0), 20)
    assert len(lines) == 1
    assert sorted(directory.rglob("*")) == before


def test_when_every_checkpoint_is_damaged_none_is_moved_and_each_is_named(two, tmp_path):
    directory = tmp_path / "c"
    shutil.copytree(two, directory)
    for step in (10, 20):
        flip(directory / str(step) / "state" / "manifest.ocdbt")
    with open_at(directory) as checkpoints:
        with pytest.raises(UserError, match=r"20 is damaged \(.*\), 10 is damaged"):
            checkpoints.restore(state_of(0))
        assert checkpoints.steps() == [10, 20]
