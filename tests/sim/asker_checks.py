"""What must hold of unique tasks, and of bursts of which the last counts, by the streams and by the client.

KEYS is read only to know when a window opened and closed; what a submit may expect follows from its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.codec import load
from outrider.broker.messages import TaskEnvelope
from outrider.broker.schema import from_map
from tests.sim.checks import SLACK_S, LedgerChecks
from tests.sim.fake_asker import FakeAsker, Wish
from tests.sim.fake_client import Order
from tests.sim.fake_jetstream import Message, Planned
from tests.sim.fake_server import SUBJECTS, FakeServer

LATE_S = 10.0
"""After so long nothing arrives any more that was late, or on its way a second time."""


@dataclass(slots=True)
class Window:
    """A burst that is gathering, or has fired."""

    task_id: str
    payload: Any
    is_open: bool = True


class AskerChecks:
    """Sees every store before the ledger's checks do: they do not know what these submits made."""

    def __init__(self, server: FakeServer, ledger: LedgerChecks, asker: FakeAsker) -> None:
        self._server = server
        self._ledger = ledger
        self._asker = asker
        self._late_s = LATE_S if server.weather.is_bad else 0.0
        self._places: dict[str, set[str]] = {}
        """Tasks of each unique name that wait for their time or were queued."""
        self._windows: dict[str, Window] = {}
        self._ran: dict[str, tuple[float, Any]] = {}
        """When each debounced task was queued first, and with which payload."""

    def stored(self, message: Message) -> None:
        if not self._asker.wishes:
            return
        if isinstance(message.data, Planned):
            self._claimed(from_map(TaskEnvelope, load(message.data.data)))
        elif isinstance(message.data, TaskEnvelope) and message.data.requeued_from is None:
            self._queued(message.data)
        elif message.subject.startswith(f"{SUBJECTS.fleet}.key.debounce-"):
            self._window(load(message.data))

    def _name_of(self, envelope: TaskEnvelope) -> str:
        payload = envelope.payload
        return str(payload.get("name", "")) if isinstance(payload, dict) else ""

    def _wish(self, payload: Any) -> Wish:
        number: int = payload["number"]
        return self._asker.wishes[number]

    def _queued(self, envelope: TaskEnvelope) -> None:
        name, now = self._name_of(envelope), self._server.loop.now
        if not name:
            return
        self._ledger.orders.setdefault(envelope.task_id, Order(envelope, now, accepted_at=now))
        if name.startswith("unique"):
            self._claimed(envelope)
        else:
            self._run(name, envelope)

    # Unique while queued

    def _claimed(self, envelope: TaskEnvelope) -> None:
        """A task of a unique name is queued, or waits for its time."""
        name = self._name_of(envelope)
        if not name.startswith("unique"):
            return
        places = self._places.setdefault(name, set())
        is_over = self._ledger.case(envelope.task_id).state == "closed"
        places.add(envelope.task_id)
        others = [t for t in places - {envelope.task_id} if self._ledger.case(t).state != "closed"]
        self._ledger.must(is_over or not others, "never two open tasks of one unique name", (name, places))

    # The last of a burst

    def _window(self, said: dict[str, Any]) -> None:
        payload = from_map(TaskEnvelope, said["envelope"]).payload
        name, now, task_id = payload["name"], self._server.loop.now, said["task_id"]
        window = self._windows.get(name)
        if said["state"] == "open":
            goes_on = window is None or not window.is_open or window.task_id == task_id
            self._ledger.must(goes_on, "a burst has one window at a time", said)
            self._windows[name] = Window(task_id, payload)
            return
        is_known = window is not None and (window.task_id, window.payload) == (task_id, payload)
        self._ledger.must(is_known, "what fires is the last of its burst", (window, said))
        wish = self._wish(payload)
        quiet_at = wish.sent[0] + (wish.options.debounce_s or 0.0)
        self._ledger.must(now >= quiet_at - SLACK_S, "nothing fires before it was quiet", (said, quiet_at))
        if window is not None:
            window.is_open = False

    def _run(self, name: str, envelope: TaskEnvelope) -> None:
        task_id, payload = envelope.task_id, envelope.payload
        now = self._server.loop.now
        first = self._ran.setdefault(task_id, (now, payload))
        self._ledger.must(first[1] == payload, "a burst runs once", (first, envelope))
        wish = self._wish(payload)
        quiet_at = wish.sent[0] + (wish.options.debounce_s or 0.0)
        self._ledger.must(now >= quiet_at - SLACK_S, "nothing runs before it was quiet", (envelope, quiet_at))
        same = [t for t, (_, ran) in self._ran.items() if ran == payload]
        self._ledger.must(len(same) == 1, "no submit of a burst runs twice", (same, payload))
        if first[0] == now:
            self._is_last(wish, now)

    def _is_last(self, ran: Wish, now: float) -> None:
        """Nobody was told of a newer submit, sent when this one was over, that this run does not hold."""
        for wish in self._asker.wishes:
            if wish.name != ran.name or wish.answer is None or wish.answer.task_id not in self._ran:
                continue
            is_same_run = self._ran[wish.answer.task_id][1] == ran.envelope.payload
            is_newer = wish.sent[0] > ran.done_at + self._late_s
            self._ledger.must(not (is_same_run and is_newer), "the last of a burst runs", (wish, now))

    # The end

    @property
    def is_over(self) -> bool:
        return self._asker.is_done and not any(window.is_open for window in self._windows.values())

    def check_end(self) -> None:
        for wish in self._asker.wishes:
            if wish.answer is None:
                continue
            if wish.is_debounced:
                self._check_burst(wish)
            else:
                is_there = wish.answer.task_id in self._places.get(wish.name, set())
                is_there = is_there or self._ledger.case(wish.answer.task_id).epoch > 0
                self._ledger.must(is_there, "what was accepted as unique is there", wish)
        for name, places in self._places.items():
            lost = [t for t in places if self._ledger.case(t).state != "closed"]
            self._ledger.must(not lost, "a unique task ends", (name, lost))
        still = [name for name, window in self._windows.items() if window.is_open]
        self._ledger.must(not still, "every window closes", still)

    def _check_burst(self, wish: Wish) -> None:
        """An accepted submit ran, or a newer one did after it."""
        newest = [
            ran
            for _, payload in self._ran.values()
            if (ran := self._wish(payload)).name == wish.name and ran.done_at + self._late_s >= wish.sent[0]
        ]
        self._ledger.must(bool(newest), "what was accepted of a burst runs, or a newer one", wish)
