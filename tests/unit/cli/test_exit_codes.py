"""The exit codes are a contract: scripts branch on them."""

from __future__ import annotations

import pytest

from outrider.broker import errors
from outrider.broker.config import BadSettings
from outrider.cli.exit_codes import PartFailed, UsageError, exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OutriderError("x"), 1),
        (errors.DecodeError("x"), 1),
        (errors.PortTaken("x"), 1),
        (errors.MissingExtra("x"), 1),
        (UsageError("x"), 2),
        (errors.InvalidTask("x"), 2),
        (errors.InvalidName("x"), 2),
        (BadSettings("x"), 2),
        (errors.TaskNotFound("x"), 3),
        (errors.AgentNotFound("x"), 3),
        (errors.UnknownKind("x"), 4),
        (errors.PayloadTooLarge("x"), 4),
        (errors.QueueFull("x"), 4),
        (errors.IdempotencyConflict("x"), 4),
        (errors.Refused("x"), 4),
        (errors.TaskDead("x"), 10),
        (errors.TaskCancelled("x"), 11),
        (errors.TaskExpired("x"), 12),
        (errors.NatsUnavailable("x"), 69),
        (errors.NobodyAnswers("x"), 69),
        (errors.WrongCredentials("x"), 69),
        (errors.TimedOut("x"), 124),
        (PartFailed("x", 69), 69),
        (PartFailed("x", -9), 1),
    ],
)
def test_each_condition_has_its_code(error: errors.OutriderError, code: int) -> None:
    assert exit_code(error) == code
