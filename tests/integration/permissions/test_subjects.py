"""Every role against every subject of the wire: nothing more and nothing less than its work needs."""

from __future__ import annotations

import re

import pytest

from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from tests.integration.permissions.conftest import ConnectAs
from tests.integration.permissions.subject_table import CORE, ROLES, WILDCARDS, jetstream_requests

REFUSED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


class Refusals:
    """What the server refuses one connection, by its error reports."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: set[tuple[str, str]] = set()
        connection.on_problem(self._note)

    def _note(self, problem: OutriderError) -> None:
        found = REFUSED.search(str(problem))
        assert found is not None, problem
        self._found.add((found[1].lower(), found[2]))

    async def of(self, what: str, subjects: list[str]) -> set[str]:
        """Which of these subjects were refused; all that was sent before has been judged."""
        await self._connection.settle()
        by_lower = {subject.lower(): subject for subject in subjects}
        return {by_lower[subject.lower()] for verb, subject in self._found if verb == what}


def allowed(role: str, table: dict[str, str]) -> set[str]:
    return {subject for subject, roles in table.items() if role in roles.split()}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_publish_what_its_work_needs_and_nothing_else(
    connect_as: ConnectAs, role: str
) -> None:
    table = {subject: publishers for subject, (publishers, _) in CORE.items()} | jetstream_requests()
    connection = await connect_as(role)
    refusals = Refusals(connection)
    for subject in table:
        await connection.publish(subject, b"")
    refused = await refusals.of("publish", list(table))
    assert set(table) - refused == allowed(role, table)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_hear_what_its_work_needs_and_nothing_else(connect_as: ConnectAs, role: str) -> None:
    table = {subject: subscribers for subject, (_, subscribers) in CORE.items()} | WILDCARDS
    connection = await connect_as(role)
    refusals = Refusals(connection)

    async def ignore(_: object) -> None:
        return None

    for subject in table:
        await connection.subscribe(subject, ignore)
    refused = await refusals.of("subscription", list(table))
    assert set(table) - refused == allowed(role, table)
