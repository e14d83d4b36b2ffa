"""What a task waits for, and how the members of a group are named: the words of chains and batches.

Pure. The ids of a group follow from its name and size, so that whoever knows one member finds them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from outrider.broker.errors import InvalidTask
from outrider.broker.subjects import check_name

MOST_AFTER = 100
MOST_MEMBERS = 100_000
LONGEST_GROUP = 57
"""So that the id of the last member is a name too."""


class OnFailure(StrEnum):
    """What becomes of a task when one that it waits for ends without success."""

    CANCEL = "cancel"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Waits:
    """Which tasks must have ended before a task may start."""

    after: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.CANCEL
    group: str = ""
    """All members of this group, beside those of `after`."""
    group_size: int = 0

    def ids(self) -> Iterator[str]:
        """Every task waited for."""
        yield from self.after
        for number in range(self.group_size):
            yield member_id(self.group, number)


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A group as another task names it."""

    group: str
    size: int

    def ids(self) -> list[str]:
        """Every member."""
        return [member_id(self.group, number) for number in range(self.size)]


def member_id(group: str, number: int) -> str:
    """The task id of a group's member, counted from 0."""
    return f"{group}-{number}"


def hook_id(group: str) -> str:
    """The task id of a group's completion hook."""
    return f"{group}-hook"


def member_of(task_id: str) -> tuple[str, int] | None:
    """The group and number that a task id of this shape names, or None."""
    group, _, number = task_id.rpartition("-")
    if group and number.isascii() and number.isdigit() and (number == "0" or number[0] != "0"):
        return group, int(number)
    return None


def check_group(group: str, size: int | None) -> None:
    """Raises InvalidName or InvalidTask when no group can be called so, or be so large."""
    check_name(group, "group")
    if len(group) > LONGEST_GROUP:
        raise InvalidTask(f"group name {group!r} is longer than {LONGEST_GROUP} signs")
    if size is None or not 1 <= size <= MOST_MEMBERS:
        raise InvalidTask(f"a group has 1 to {MOST_MEMBERS} members, not {size}")


def check_member(task_id: str, group: str, size: int | None) -> None:
    """Raises InvalidTask unless the task's id is that of a member of the group."""
    check_group(group, size)
    found = member_of(task_id)
    if found is None or found[0] != group or found[1] >= (size or 0):
        raise InvalidTask(
            f"task {task_id!r} is no member of group {group!r} of {size}",
            hint=f"members are {member_id(group, 0)} to {member_id(group, (size or 1) - 1)}",
        )


def check_waits(task_id: str, waits: Waits) -> None:
    """Raises InvalidName or InvalidTask when a task cannot wait for these."""
    if len(waits.after) > MOST_AFTER:
        raise InvalidTask(
            f"after names {len(waits.after)} tasks, at most {MOST_AFTER} are allowed",
            hint="submit them as a group and wait for the group",
        )
    if waits.group:
        check_group(waits.group, waits.group_size)
    elif waits.group_size:
        raise InvalidTask("after_group_size without after_group")
    for parent in waits.after:
        check_name(parent, "after")
        _refuse_circle(task_id, parent)
    own = member_of(task_id)
    if waits.group and own is not None and own[0] == waits.group:
        raise InvalidTask(f"task {task_id} cannot wait for the group that it belongs to")


def _refuse_circle(task_id: str, parent: str) -> None:
    if parent == task_id:
        raise InvalidTask(f"task {task_id} cannot wait for itself")
    mine, other = member_of(task_id), member_of(parent)
    if mine is not None and other is not None and mine[0] == other[0] and other[1] > mine[1]:
        raise InvalidTask(f"task {task_id} cannot wait for {parent}: only for earlier members of its group")
