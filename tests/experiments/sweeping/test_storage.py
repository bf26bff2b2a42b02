"""Storages of studies: what cannot be one is an error in words, without the password."""

import pytest

from experiments.sweeping.storage import open_storage, sqlite_url, without_password
from transformer.errors import UserError


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x", "got tried postgresql://me:***@127.0.0.1:1/x"),
        ("sqlite:////proc/nowhere/x.db", "the storage cannot be reached"),
        ("journal.log", "a journal file keeps no heartbeat, so workers that were killed could not be found"),
        ("sqlite:///lr?1", "--storage has an option that SQLite does not have; got ?1. In a path, write ? as %3F"),
        ("sqlite:///lr?colour=1", "got ?colour=1"),
        ("sqlite:///x?timeout=1/study.db", "the storage cannot be reached: could not convert string to float"),
        ("mysql://h/x", "expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
def test_a_storage_that_cannot_be_used_gets_a_clear_line(url, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the lock of a relative path is made there
    with pytest.raises(UserError) as caught:
        open_storage(url, 5)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_is_never_shown():
    assert without_password("postgresql://me:secret@h/x") == "postgresql://me:***@h/x"


def test_a_plain_path_has_the_url_that_it_had_before(tmp_path):
    path = tmp_path / "study.db"
    assert sqlite_url(path) == f"sqlite:///{path}"
