"""Where NATS is: argument, then environment, then `.env`, then NATS context, then the default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outrider.broker.config import (
    DEFAULT_URL,
    BadSettings,
    environment,
    fleet_name,
    nats_settings,
    read_dotenv,
    state_folder,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, which is also where NATS contexts are kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def save_context(folder: Path, name: str, *, selected: bool = False, **content: object) -> None:
    (folder / "nats" / "context").mkdir(parents=True, exist_ok=True)
    (folder / "nats" / "context" / f"{name}.json").write_text(json.dumps(content))
    if selected:
        (folder / "nats" / "context.txt").write_text(f"{name}\n")


def test_nothing_said_means_the_default(folder: Path) -> None:
    found = nats_settings(environment())
    assert (found.url, found.is_default) == (DEFAULT_URL, True)


def test_each_place_counts_more_than_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_context(folder, "prod", selected=True, url="nats://context:1")
    assert nats_settings(environment()).url == "nats://context:1"
    (folder / ".env").write_text("NATS_URL=nats://dotenv:2\n")
    assert nats_settings(environment()).url == "nats://dotenv:2"
    monkeypatch.setenv("NATS_URL", "nats://environment:3")
    assert nats_settings(environment()).url == "nats://environment:3"
    assert nats_settings(environment(), "nats://argument:4").url == "nats://argument:4"


def test_an_empty_variable_counts_as_unset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "")
    assert nats_settings(environment()).is_default


def test_a_context_brings_its_credentials_and_the_environment_changes_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_context(folder, "prod", url="nats://n:1", user="ann", password="one", description="ours", token="")
    monkeypatch.setenv("NATS_CONTEXT", "prod")
    found = nats_settings(environment())
    assert (found.url, found.user, found.password, found.token) == ("nats://n:1", "ann", "one", None)
    assert "prod" in found.source
    monkeypatch.setenv("NATS_PASSWORD", "two")
    assert nats_settings(environment()).password == "two"


def test_an_address_given_leaves_the_context_and_its_credentials_alone(folder: Path) -> None:
    save_context(folder, "prod", selected=True, url="nats://n:1", creds="/secret.creds")
    assert nats_settings(environment(), "nats://other:1").creds is None


@pytest.mark.parametrize("content", [None, "{", "[1"])
def test_a_context_that_cannot_be_read_is_one_clear_error(folder: Path, content: str | None) -> None:
    save_context(folder, "other")
    if content is not None:
        (folder / "nats" / "context" / "prod.json").write_text(content)
    with pytest.raises(BadSettings, match=r"prod\.json"):
        nats_settings({"NATS_CONTEXT": "prod", "XDG_CONFIG_HOME": str(folder)})


def test_a_user_reads_answers_in_an_inbox_of_its_own() -> None:
    assert nats_settings({"NATS_USER": "ann"}).inbox_prefix == "_INBOX.ann"
    assert nats_settings({"NATS_URL": "nats://ann:pw@n:1"}).inbox_prefix == "_INBOX.ann"
    assert nats_settings({"NATS_URL": "nats://token@n:1"}).inbox_prefix is None
    assert nats_settings({"NATS_USER": "ann", "NATS_INBOX_PREFIX": "_MINE"}).inbox_prefix == "_MINE"


def test_secrets_do_not_show() -> None:
    found = nats_settings({"NATS_URL": "nats://n:1", "NATS_PASSWORD": "hush", "NATS_TOKEN": "hush"})
    assert "hush" not in repr(found)


def test_servers_may_be_listed_and_go_without_scheme() -> None:
    found = nats_settings({"NATS_URL": "one:4222, tls://two:4222,"})
    assert found.servers == ["nats://one:4222", "tls://two:4222"]


def test_a_dotenv_file_is_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# ours\n\nexport A=1\nB = 'two words'\nC=\"x=y\"\nD=\n")
    assert read_dotenv(path) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}
    assert read_dotenv(tmp_path / "none") == {}


def test_a_broken_dotenv_line_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\njust words\n")
    with pytest.raises(BadSettings, match="line 2"):
        read_dotenv(tmp_path / ".env")


def test_fleet_and_state_folder() -> None:
    assert fleet_name({}) == "outrider"
    assert fleet_name({"OUTRIDER_FLEET": "lab"}) == "lab"
    assert fleet_name({"OUTRIDER_FLEET": "lab"}, "other") == "other"
    assert state_folder({"OUTRIDER_STATE": "/var/lib/outrider"}) == Path("/var/lib/outrider")
