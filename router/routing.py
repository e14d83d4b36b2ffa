"""From a RouteRequest to a RouteAnswer: checks the request and takes its tasks in turns, urgent ones first.

Pure: statistics, predictor, settings and time come from the caller; what is random is drawn from task ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from outrider.broker.errors import InvalidTask
from outrider.broker.routing import RouteAnswer, RouteRequest, RouteTask
from outrider.broker.subjects import NAME, check_name
from outrider.router.alone import choose_alone
from outrider.router.config import RouterSettings
from outrider.router.predictor import Predictor
from outrider.router.statistics import Statistics
from outrider.router.turn import Batch, Group, Turn, door_of, group_of

MOST_TASKS = 1024
MOST_AGENTS = 20_000
TOGETHER = 128
"""Tasks chosen for jointly; a larger batch is taken in turns, each seeing the load of those before."""
UNLIKE = 32
"""How many different tasks a turn has at most: the forest is asked about each of these."""


def check(request: RouteRequest) -> RouteRequest:
    """The request itself when it makes sense. Raises InvalidTask or InvalidName."""
    tasks, agents = request.tasks, request.agents
    if len(tasks) > MOST_TASKS or len(agents) > MOST_AGENTS:
        raise InvalidTask(
            f"{len(tasks)} tasks with {len(agents)} agents are too many for one request",
            hint=f"send at most {MOST_TASKS} tasks and {MOST_AGENTS} agents",
        )
    _demand_unique([task.task_id for task in tasks], "task")
    _demand_unique([agent.agent_id for agent in agents], "agent")
    for task in tasks:
        if any(not 0 <= index < len(agents) for index in task.among or ()):
            raise InvalidTask(
                f"task {task.task_id}: among names an agent beyond the {len(agents)} in the request"
            )
    for agent in agents:
        if not (0 <= agent.slots <= 1_000_000 and 0 <= agent.in_flight <= 1_000_000):
            raise InvalidTask(f"agent {agent.agent_id}: slots and in_flight must be 0 to 1000000")
    return request


def _demand_unique(names: Sequence[str], what: str) -> None:
    if not all(map(NAME.fullmatch, names)):
        for name in names:
            check_name(name, f"{what} id")
    if len(set(names)) != len(names):
        raise InvalidTask(f"the request names the same {what} twice")


def route(
    request: RouteRequest, statistics: Statistics, predictor: Predictor, settings: RouterSettings, now: float
) -> RouteAnswer:
    """A choice for each task that some allowed agent has a free slot for; urgent tasks choose first.

    Raises InvalidTask or InvalidName for a request that makes no sense.
    """
    check(request)
    alone = choose_alone(request, statistics, predictor, settings, now)
    if alone is not None:
        return alone
    batch = Batch(request, statistics, predictor, settings, now)
    for priority in sorted({task.priority for task in request.tasks}):
        _place(batch, [task for task in request.tasks if task.priority == priority])
    chosen = [batch.choices[task.task_id] for task in request.tasks if task.task_id in batch.choices]
    model = "random" if settings.policy == "random" else predictor.version
    return RouteAnswer(tuple(chosen), model, held=tuple(batch.held))


def _place(batch: Batch, tasks: Sequence[RouteTask]) -> None:
    pending = list(tasks)
    while pending:
        size = _size_of_turn(pending)
        turn, pending = pending[:size], pending[size:]
        places = batch.places_behind(door_of(task) for task in turn)
        turn = [task for task in turn if places[door_of(task)]]
        before = len(batch.choices)
        if turn:
            Turn(batch, turn).choose()
        if len(batch.choices) > before:
            # Places that tasks of other kinds took were left out of the running for these: look again.
            again = [t for t in turn if t.task_id not in batch.choices and t.task_id not in batch.held]
            pending = again + pending


def _size_of_turn(pending: Sequence[RouteTask]) -> int:
    seen: set[Group] = set()
    for size, task in enumerate(pending[:TOGETHER]):
        seen.add(group_of(task))
        if len(seen) > UNLIKE:
            return size
    return min(len(pending), TOGETHER)
