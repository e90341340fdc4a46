"""Keys are made once, kept private, and never invented in production."""

from __future__ import annotations

import stat

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from config import keys


@pytest.fixture
def env(monkeypatch):
    for name in ("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "PSEUDONYM_KEY"):
        monkeypatch.delenv(name, raising=False)
    return environ.Env()


def test_the_first_start_writes_a_private_file_and_later_ones_read_it(env, tmp_path):
    path = tmp_path / "keys.json"
    first = keys.load(env, path, production=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.load(env, path, production=False) == first
    assert list(tmp_path.iterdir()) == [path]


def test_two_installations_have_different_keys(env, tmp_path):
    assert keys.load(env, tmp_path / "a", production=False) != keys.load(
        env, tmp_path / "b", production=False
    )


def test_production_refuses_to_start_without_keys(env, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"config\.keys"):
        keys.load(env, tmp_path / "keys.json", production=True)
    assert not (tmp_path / "keys.json").exists()


def test_keys_come_from_the_environment(env, tmp_path, monkeypatch):
    made = keys.fresh()
    monkeypatch.setenv("SECRET_KEY", made["django"])
    monkeypatch.setenv("FIELD_ENCRYPTION_KEYS", ",".join(made["encryption"]))
    monkeypatch.setenv("PSEUDONYM_KEY", made["pseudonym"])
    loaded = keys.load(env, tmp_path / "keys.json", production=True)
    assert loaded.encryption == made["encryption"]
    assert len(loaded.pseudonym) == 32


def test_half_a_set_of_keys_is_refused(env, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "only this")
    with pytest.raises(ImproperlyConfigured, match="FIELD_ENCRYPTION_KEYS"):
        keys.load(env, tmp_path / "keys.json", production=True)
