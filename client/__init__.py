"""Submit, wait, stream, cancel and read history."""

from outrider.broker.errors import (
    IdempotencyConflict,
    NatsUnavailable,
    NobodyAnswers,
    ObjectCorrupt,
    ObjectMissing,
    OutriderError,
    PayloadTooLarge,
    QueueFull,
    Refused,
    TaskCancelled,
    TaskDead,
    TaskEnded,
    TaskExpired,
    TaskNotFound,
    TimedOut,
    UnknownKind,
)
from outrider.broker.estimates import CanMeet, Estimate
from outrider.broker.flows import GroupRef, OnFailure
from outrider.broker.letters import DeadLetter, LetterList
from outrider.broker.messages import ChunkType
from outrider.broker.pausing import PauseState
from outrider.broker.states import TaskState
from outrider.broker.views import AgentView, TaskView
from outrider.client.chunks import Piece
from outrider.client.client import Client
from outrider.client.groups import Group, Progress
from outrider.client.new_task import NewTask
from outrider.client.operating import LetterFilter, LetterStory
from outrider.client.scheduling import ScheduleView
from outrider.client.submitting import PartlySubmitted
from outrider.client.sync import SyncClient, SyncGroup, SyncTask
from outrider.client.task import Task

__all__ = [
    "AgentView",
    "CanMeet",
    "ChunkType",
    "Client",
    "DeadLetter",
    "Estimate",
    "Group",
    "GroupRef",
    "IdempotencyConflict",
    "LetterFilter",
    "LetterList",
    "LetterStory",
    "NatsUnavailable",
    "NewTask",
    "NobodyAnswers",
    "ObjectCorrupt",
    "ObjectMissing",
    "OnFailure",
    "OutriderError",
    "PartlySubmitted",
    "PauseState",
    "PayloadTooLarge",
    "Piece",
    "Progress",
    "QueueFull",
    "Refused",
    "ScheduleView",
    "SyncClient",
    "SyncGroup",
    "SyncTask",
    "Task",
    "TaskCancelled",
    "TaskDead",
    "TaskEnded",
    "TaskExpired",
    "TaskNotFound",
    "TaskState",
    "TaskView",
    "TimedOut",
    "UnknownKind",
]
