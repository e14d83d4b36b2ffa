"""Answers come to inboxes that only the asking user may read, without anybody setting anything."""

from __future__ import annotations

import pytest

from outrider.broker.config import nats_settings


@pytest.mark.parametrize(
    ("environment", "prefix"),
    [
        ({"NATS_USER": "agent-1", "NATS_PASSWORD": "x"}, "_INBOX.agent-1"),
        ({"NATS_URL": "nats://agent-1:x@127.0.0.1:4222"}, "_INBOX.agent-1"),
        ({"NATS_URL": "a.example:4222", "NATS_USER": "client"}, "_INBOX.client"),
        ({"NATS_USER": "agent-1", "NATS_INBOX_PREFIX": "_INBOX.mine"}, "_INBOX.mine"),
        ({}, None),
        ({"NATS_URL": "nats://s3cret-token@127.0.0.1:4222"}, None),
        ({"NATS_TOKEN": "s3cret"}, None),
        ({"NATS_USER": "not a name"}, None),
        ({"NATS_USER": ">"}, None),
    ],
)
def test_the_inbox_follows_the_user_name(environment: dict[str, str], prefix: str | None) -> None:
    assert nats_settings(environment).inbox_prefix == prefix
