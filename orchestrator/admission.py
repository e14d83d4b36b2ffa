"""Who may start under the limits, and where the others wait: some in memory, the rest in the queue.

Pure functions over Memory. A task that waits holds no agent, and no room that another could use.
"""

from __future__ import annotations

from hashlib import blake2b

from outrider.broker.limits import Limit
from outrider.orchestrator import limited
from outrider.orchestrator.attempts import give_back, make_ready, set_timer
from outrider.orchestrator.limit_bucket import PARKED_FOR_S, Bucket, Place
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase

SWEEP_EVERY_S = 1.0
MOST_PARKED_IN_ALL = 4096
PATIENCE_S = 5.0
"""How long a task between attempts leaves new room to others: it cannot go to another orchestrator."""


def admit(m: Memory, task: TaskRecord) -> bool:
    """Whether the task may start now; one that may not waits where it is found again."""
    book = m.limits
    buckets = book.places(task.kind, task.limit_key)
    if not buckets:
        return True
    tokens = book.tokens_of(task.kind, task.facts)
    for bucket in buckets:
        if bucket.refusal(m.now, tokens, is_keeper=_is_keeper(m, bucket, task)) is not None:
            _wait(m, task, bucket)
            return False
    book.pick(task.task_id, buckets, tokens)
    task.parked_at = None
    task.unfit = 0
    return True


def _is_keeper(m: Memory, bucket: Bucket, task: TaskRecord | None = None) -> bool:
    """Whether this orchestrator comes first when the bucket has room again.

    Of those that pulse, the one whose hash with the bucket's name is highest: all agree without a word.
    """
    if task is not None and not task.is_in_queue and m.now - task.ready_at > PATIENCE_S:
        return True
    others = [o for o, at in m.owners.items() if o != m.me and m.now - at <= m.thresholds.owner_silent_s]
    return all(_weight(m.me, bucket) > _weight(other, bucket) for other in others)


def _weight(orchestrator_id: str, bucket: Bucket) -> bytes:
    return blake2b("/".join((orchestrator_id, *bucket.name)).encode(), digest_size=8).digest()


# ---- waiting


def _wait(m: Memory, task: TaskRecord, bucket: Bucket) -> None:
    """Park the task, or give back whichever of the bucket's is to start last."""
    place = _place(task)
    if task.is_in_queue and not _has_space(m, bucket, task.priority):
        last = _last_parked(m, bucket)
        if last is None or place > _place(last):
            _return(m, task, bucket)
            return
        _unpark(m, last, bucket)
        _return(m, last, bucket)
    bucket.park(place)
    if task.parked_at is None:
        task.parked_at = m.now
        if task.is_in_queue:
            m.limits.parked_held[task.kind, task.priority] += 1


def _place(task: TaskRecord) -> Place:
    return (task.priority, task.ready_at, task.task_id)


def _has_space(m: Memory, bucket: Bucket, priority: int) -> bool:
    """The first of each priority has a place of its own, where its age counts."""
    is_room = len(bucket.parked) < bucket.most_parked() or not bucket.has_parked(priority)
    return is_room and m.limits.parked_held.total() < MOST_PARKED_IN_ALL


def _last_parked(m: Memory, bucket: Bucket) -> TaskRecord | None:
    """The one to start last of those that may go back to the queue."""
    for at in range(len(bucket.parked) - 1, -1, -1):
        task = m.tasks.get(bucket.parked[at][2])
        if task is not None and task.is_in_queue and _is_waiting(task) and not bucket.is_only_one(at):
            return task
    return None


def _is_waiting(task: TaskRecord | None) -> bool:
    return task is not None and task.phase is TaskPhase.HELD and task.parked_at is not None


def _unpark(m: Memory, task: TaskRecord, bucket: Bucket) -> None:
    place = _place(task)
    if place in bucket.parked:
        bucket.parked.remove(place)
    task.parked_at = None
    if task.is_in_queue:
        m.limits.parked_held[task.kind, task.priority] -= 1


def _return(m: Memory, task: TaskRecord, bucket: Bucket) -> None:
    cap_s = min(m.thresholds.unfit_cap_s, m.limits.turn_s(m.now))
    unknown_s = min(cap_s, m.thresholds.unfit_first_s * 2.0**task.unfit)
    delay_s = bucket.returns_after(m.now, unknown_s, cap_s)
    m.limits.sent_away(m.now + delay_s)
    m.counters["returned_for_limits"] += 1
    send_away(m, task, delay_s)


def send_away(m: Memory, task: TaskRecord, delay_s: float) -> None:
    """The task's message goes back to the queue for a while; one that left the queue waits here."""
    task.unfit += 1
    if task.is_in_queue:
        give_back(m, task, delay_s)
    else:
        task.phase = TaskPhase.BACKING_OFF
        task.retry_at = m.now + delay_s
        m.timers.set(task.task_id, task.retry_at)


# ---- room again


def wake_stirred(m: Memory) -> None:
    """Make ready those for whom slots were freed."""
    stirred = list(m.limits.stirred.values())
    m.limits.stirred.clear()
    for bucket in stirred:
        _wake(m, bucket, bucket.room(m.now))


def _wake(m: Memory, bucket: Bucket, room: int) -> None:
    """Let the best go on, and one in `ageing_every` by its age: so none starves, as in ReadyQueue."""
    while room > 0 and bucket.parked:
        is_by_age = (bucket.woken + 1) % m.thresholds.ageing_every == 0
        place = min(bucket.parked, key=lambda p: _age_key(m, p)) if is_by_age else bucket.parked[0]
        task = m.tasks.get(place[2])
        if task is None or not _is_waiting(task):
            bucket.parked.remove(place)
            continue
        _unpark(m, task, bucket)
        bucket.woken += 1
        if is_by_age:
            _make_ready_by_age(m, task)
        else:
            make_ready(m, task)
        room -= 1


def _make_ready_by_age(m: Memory, task: TaskRecord) -> None:
    """With the priority that its waiting has earned, which counts once: from here on it ages anew."""
    priority = max(0, task.priority - int((m.now - task.ready_at) / m.thresholds.ageing_s))
    m.ready.push(task.kind, priority, task.order, task.task_id, m.now)
    set_timer(m, task)


def _age_key(m: Memory, place: Place) -> float:
    """All age alike, so whoever is ahead stays ahead: the present time does not matter."""
    task = m.tasks.get(place[2])
    return place[0] * m.thresholds.ageing_s + task.ready_at if task is not None else 0.0


def tick(m: Memory) -> None:
    """Look whether time alone made room; now and then, put everything in order."""
    book = m.limits
    is_sweep = m.now - book.checked_at >= SWEEP_EVERY_S
    for bucket in book.waiting():
        if is_sweep or bucket.opens_with_time or m.owners:
            _wake(m, bucket, bucket.room(m.now))
    if is_sweep:
        book.checked_at = m.now
        _sweep(m)


def _sweep(m: Memory) -> None:
    """Forget who waits no more, let others have what is theirs to start, count anew."""
    book = m.limits
    book.parked_held.clear()
    for bucket in book.waiting():
        is_keeper = _is_keeper(m, bucket)
        for place in list(bucket.parked):
            task = m.tasks.get(place[2])
            if task is None or not _is_waiting(task):
                bucket.parked.remove(place)
            elif task.is_in_queue and not is_keeper and m.now - (task.parked_at or m.now) > PARKED_FOR_S:
                bucket.parked.remove(place)
                task.parked_at = None
                send_away(m, task, m.thresholds.unfit_first_s / 4)
            elif task.is_in_queue:
                book.parked_held[task.kind, task.priority] += 1
    book.forget_idle(m.now)


def window(m: Memory, kind: str, priority: int, room: int) -> int:
    """How many more messages may be on their way: none that a limit of the whole kind keeps waiting."""
    waiting = m.limits.parked_held[kind, priority]
    for bucket in m.limits.of_kind(kind):
        space = bucket.most_parked() - len(bucket.parked)
        is_better = bool(bucket.parked) and bucket.parked[-1][0] > priority
        is_first = m.limits.parked_held.total() < MOST_PARKED_IN_ALL and not bucket.has_parked(priority)
        room = min(room, bucket.room(m.now) + max(space, 1 if is_better or is_first else 0))
    return max(0, room - (m.held[kind, priority] - waiting))


# ---- what is limited


def set_limit(m: Memory, limit: Limit, seq: int) -> None:
    """A limit is in force from now on, or not any more; whoever waits is looked at again."""
    m.limits.seq = max(m.limits.seq, seq)
    m.limits.set(limit)
    limited.recount(m)
    for bucket in m.limits.waiting():
        _wake(m, bucket, len(bucket.parked))
    m.limits.parked_held.clear()


def why_waiting(m: Memory, kind: str, key: str | None) -> str | None:
    """The limit that keeps a task of this kind and key from starting now, for people."""
    for bucket in m.limits.places(kind, key) if m.limits.is_used else ():
        why = bucket.why_full(m.now, 1.0)
        if why is not None:
            limit = bucket.limit
            return f"limit of kind {limit.kind}{f', key {bucket.name[2]}' if limit.key else ''}: {why}"
    return None
