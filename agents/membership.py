"""Joining a fleet: tried for ever until an orchestrator answers, repeated after each reconnect."""

from __future__ import annotations

import asyncio
import logging
import random

from outrider.broker.codec import decode, encode, load
from outrider.broker.connection import Connection
from outrider.broker.errors import NobodyAnswers, OutriderError, Refused, TimedOut, error_from_wire
from outrider.broker.messages import Join, Joined, Ping
from outrider.broker.subjects import Subjects

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 10.0
"""An orchestrator may first have to find out whether another instance holds the name."""
PROBE_S = 0.5
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


async def is_name_free(connection: Connection, subjects: Subjects, agent_id: str) -> bool:
    """Whether nobody listens under this agent's name now."""
    try:
        await connection.request(subjects.agent(agent_id, "ping"), encode(Ping()), PROBE_S)
    except NobodyAnswers:
        return True
    except OutriderError:
        return False
    return False


async def join(connection: Connection, subjects: Subjects, request: Join) -> Joined:
    """Announce the agent until an orchestrator accepts it. Raises Refused when the name is taken."""
    subject = subjects.agent(request.agent_id, "join")
    pause_s, told = SHORTEST_PAUSE_S, ""
    while True:
        try:
            answer = await connection.request(subject, encode(request), ANSWER_WITHIN_S)
            return _read(answer.data, request.agent_id)
        except Refused:
            raise
        except OutriderError as error:
            if error.code != told:
                log.warning("agent %s has not joined yet, trying on: %s", request.agent_id, _plain(error))
                told = error.code
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _plain(error: OutriderError) -> str:
    if isinstance(error, (NobodyAnswers, TimedOut)):
        return "no orchestrator answers in this fleet"
    return str(error)


def _read(data: bytes, agent_id: str) -> Joined:
    refusal = error_from_wire(load(data))
    if isinstance(refusal, Refused):
        hint = refusal.hint or "give this agent another name, or stop the other one"
        raise Refused(f"agent {agent_id} may not join: {refusal}", hint=hint)
    if refusal is not None:
        raise refusal
    return decode(Joined, data)
