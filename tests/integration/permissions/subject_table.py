"""Who may publish and who may subscribe what: the whole wire as one table, written apart from nats.conf."""

from __future__ import annotations

ROLES = ("orchestrator", "router", "ui", "client", "ops", "agents", "agent-1")

# subject: publishers, subscribers
CORE: dict[str, tuple[str, str]] = {
    "outrider.task.chat.5.t1": ("orchestrator ui client", "ops"),
    "outrider.submit": ("ui client ops", "orchestrator ops"),
    "outrider.get": ("ui client ops", "orchestrator ops"),
    "outrider.cancel": ("ui client ops", "orchestrator ops"),
    "outrider.agents": ("ui client ops", "orchestrator ops"),
    "outrider.stats": ("ui client ops", "orchestrator ops"),
    "outrider.estimate": ("ui client ops", "orchestrator ops"),
    "outrider.dead": ("ui client ops", "orchestrator ops"),
    "outrider.limits": ("ops", "orchestrator ops"),
    "outrider.requeue": ("ui ops", "orchestrator ops"),
    "outrider.discard": ("ui ops", "orchestrator ops"),
    "outrider.pause": ("ui ops", "orchestrator ops"),
    "outrider.resume": ("ui ops", "orchestrator ops"),
    "outrider.later.s1": ("orchestrator", "ops"),
    "outrider.due.chat.5.s1": ("", "ops"),
    "outrider.key.k1": ("orchestrator", "ops"),
    "outrider.control.c1": ("orchestrator ui", "ops"),
    "outrider.limit.chat.~~": ("orchestrator", "ops"),
    "outrider.member.agent-1": ("orchestrator", "ops"),
    "outrider.orchestrator.o-1.pulse": ("orchestrator", "orchestrator ui ops"),
    "outrider.route": ("orchestrator ops", "router ops"),
    # an agent that has a user of its own
    "outrider.agent.agent-1.join": ("agents agent-1", "orchestrator ops agent-1"),
    "outrider.agent.agent-1.settle": ("agents agent-1", "orchestrator ops agent-1"),
    "outrider.agent.agent-1.heartbeat": ("agents agent-1", "orchestrator ui ops agent-1"),
    "outrider.agent.agent-1.assign": ("orchestrator", "ops agents agent-1"),
    "outrider.agent.agent-1.cancel": ("orchestrator", "ops agents agent-1"),
    "outrider.agent.agent-1.renew": ("orchestrator", "ops agents agent-1"),
    "outrider.agent.agent-1.drain": ("orchestrator ui ops", "ops agents agent-1"),
    "outrider.agent.agent-1.ping": ("orchestrator ops agents agent-1", "ops agents agent-1"),
    "outrider.ledger.t1.agent.agent-1": ("agents agent-1", "ops"),
    "outrider.chunk.agent-1.t1.1": ("agents agent-1", "orchestrator ui client ops"),
    # any other agent
    "outrider.agent.other.join": ("agents", "orchestrator ops"),
    "outrider.agent.other.settle": ("agents", "orchestrator ops"),
    "outrider.agent.other.heartbeat": ("agents", "orchestrator ui ops"),
    "outrider.agent.other.assign": ("orchestrator", "ops agents"),
    "outrider.agent.other.cancel": ("orchestrator", "ops agents"),
    "outrider.agent.other.renew": ("orchestrator", "ops agents"),
    "outrider.agent.other.drain": ("orchestrator ui ops", "ops agents"),
    "outrider.agent.other.ping": ("orchestrator ops agents", "ops agents"),
    "outrider.ledger.t1.agent.other": ("agents", "ops"),
    "outrider.chunk.other.t1.1": ("agents", "orchestrator ui client ops"),
    # the ledger, and what the server makes of it
    "outrider.ledger.t1.orchestrator.o-1": ("orchestrator", "ops"),
    "outrider.live.t1.orchestrator.o-1": ("", "ui client ops"),
    "outrider.live.t1.agent.agent-1": ("", "ui client ops"),
    # large payloads and results
    "$O.OUTRIDER_PAYLOADS.C.u1": ("orchestrator ui client agents agent-1", ""),
    "$O.OUTRIDER_PAYLOADS.M.h1": ("orchestrator ui client agents agent-1", ""),
    "$O.OTHER.M.h1": ("", ""),
    # snapshots of the ledger
    "$O.OUTRIDER_SNAPSHOTS.M.x": ("orchestrator", ""),
    "$O.OUTRIDER_SNAPSHOTS.C.x": ("orchestrator", ""),
    # models of the router
    "$O.OUTRIDER_MODELS.M.x": ("router", ""),
    "$O.OUTRIDER_MODELS.C.x": ("router", ""),
    "outrider.model.decision": ("router ops", "ops"),
    "outrider.model.training": ("router", "ops"),
    # answers
    "_INBOX.orchestrator.x": ("orchestrator router", "orchestrator"),
    "_INBOX.router.x": ("orchestrator router", "router"),
    "_INBOX.ui.x": ("orchestrator router", "ui"),
    "_INBOX.client.x": ("orchestrator router", "client"),
    "_INBOX.ops.x": ("orchestrator router", "ops"),
    "_INBOX.agents.x": ("orchestrator router", "agents"),
    "_INBOX.agent-1.x": ("orchestrator router", "agent-1"),
    "_INBOX.x": ("orchestrator router", ""),
    # the service protocol, other fleets, and what belongs to nobody
    "$SRV.PING": ("ops", "orchestrator router ops agents agent-1"),
    "$SRV.INFO.outrider-agent": ("ops", "orchestrator router ops agents agent-1"),
    "another.task.chat.5.t1": ("", ""),
    "another.ledger.t1.agent.agent-1": ("", ""),
    "outrider.anything": ("", "ops"),
    "$SYS.REQ.SERVER.PING": ("", ""),
    "$SYS.REQ.USER.INFO": ("ops", ""),
    "$JS.EVENT.ADVISORY.STREAM.DELETED.OUTRIDER_LEDGER": ("", "ops"),
}

# Only subscribed: the wildcards that a curious user would try.
WILDCARDS: dict[str, str] = {
    ">": "",
    "outrider.>": "ops",
    "outrider.*": "ops",
    "outrider.agent.>": "ops",
    "outrider.agent.agent-1.>": "ops agent-1",
    "outrider.agent.*.assign": "ops agents",
    "outrider.ledger.>": "ops",
    "outrider.live.>": "ui client ops",
    "outrider.task.>": "ops",
    "_INBOX.>": "",
    "_INBOX.*.>": "",
    "$JS.>": "",
    "$JS.API.>": "",
    "$SYS.>": "",
}

STREAMS = (
    "OUTRIDER_TASKS",
    "OUTRIDER_LEDGER",
    "OUTRIDER_CHUNKS",
    "OUTRIDER_LATER",
    "OUTRIDER_KEYS",
    "OUTRIDER_LIMITS",
    "OBJ_OUTRIDER_PAYLOADS",
    "OBJ_OUTRIDER_SNAPSHOTS",
    "OBJ_OUTRIDER_MODELS",
)
WHO_HAS_OBJECTS = "orchestrator ui client ops agents agent-1"
SNAPSHOTS = "OBJ_OUTRIDER_SNAPSHOTS"
MODELS = "OBJ_OUTRIDER_MODELS"
QUEUES = ("OUTRIDER_TASKS", "OUTRIDER_LATER")
VIEWED = ("OUTRIDER_LEDGER", "OUTRIDER_CHUNKS", "OUTRIDER_LIMITS", "OBJ_OUTRIDER_PAYLOADS")
READERS = {
    "OUTRIDER_TASKS": "orchestrator ui client ops",
    "OUTRIDER_LEDGER": "orchestrator router ui client ops",
    "OUTRIDER_CHUNKS": "ui client ops",
    "OBJ_OUTRIDER_PAYLOADS": WHO_HAS_OBJECTS,
    SNAPSHOTS: "orchestrator ops",
    MODELS: "router ops",
    "OUTRIDER_LATER": "orchestrator ui client ops",
    "OUTRIDER_KEYS": "orchestrator ops",
    "OUTRIDER_LIMITS": "ops",
}
FOLLOWERS = {
    "OUTRIDER_TASKS": "",
    "OUTRIDER_LEDGER": "orchestrator router ui ops",
    "OUTRIDER_CHUNKS": "ui client ops",
    "OBJ_OUTRIDER_PAYLOADS": "ops",
    SNAPSHOTS: "",
    MODELS: "",
    "OUTRIDER_LATER": "",
    "OUTRIDER_KEYS": "",
    "OUTRIDER_LIMITS": "orchestrator ops",
}
INFORMED = {
    "OUTRIDER_TASKS": "orchestrator ui client ops",
    "OUTRIDER_LEDGER": "orchestrator router ui client ops",
    "OUTRIDER_CHUNKS": "orchestrator ui ops",
    "OBJ_OUTRIDER_PAYLOADS": WHO_HAS_OBJECTS,
    SNAPSHOTS: "orchestrator ops",
    MODELS: "router ops",
    "OUTRIDER_LATER": "orchestrator ops",
    "OUTRIDER_KEYS": "orchestrator ops",
    "OUTRIDER_LIMITS": "orchestrator ops",
}


def _of_stream(stream: str) -> dict[str, str]:
    is_queue = stream in QUEUES
    reads = "ops" if stream in VIEWED else ""
    return {
        f"STREAM.CREATE.{stream}": "router" if stream == MODELS else "orchestrator",
        f"STREAM.UPDATE.{stream}": "",
        f"STREAM.DELETE.{stream}": "",
        f"STREAM.PURGE.{stream}": {SNAPSHOTS: "orchestrator", MODELS: "router"}.get(stream, ""),
        f"STREAM.MSG.DELETE.{stream}": "orchestrator" if is_queue else "",
        f"STREAM.SNAPSHOT.{stream}": "ops",
        f"STREAM.RESTORE.{stream}": "",
        f"STREAM.INFO.{stream}": INFORMED[stream],
        f"STREAM.MSG.GET.{stream}": "ops",
        f"DIRECT.GET.{stream}": READERS[stream],
        f"CONSUMER.CREATE.{stream}": FOLLOWERS[stream],
        f"CONSUMER.CREATE.{stream}.c1.outrider.x": "orchestrator" if is_queue else reads,
        f"CONSUMER.DURABLE.CREATE.{stream}.c1": "",
        f"CONSUMER.DELETE.{stream}.c1": FOLLOWERS[stream],
        f"CONSUMER.PAUSE.{stream}.c1": "",
        f"CONSUMER.MSG.NEXT.{stream}.c1": "orchestrator" if is_queue else reads,
        f"CONSUMER.LIST.{stream}": "ui ops" if stream == "OUTRIDER_TASKS" else "ops",
        f"CONSUMER.INFO.{stream}.c1": "orchestrator ops" if stream == "OUTRIDER_TASKS" else "ops",
    }


def jetstream_requests() -> dict[str, str]:
    """Every JetStream request that touches the fleet's streams, with those who may send it."""
    table = {f"$JS.API.{what}": who for stream in STREAMS for what, who in _of_stream(stream).items()}
    return table | {
        "$JS.ACK.OUTRIDER_TASKS.chat-5.1.1.1.1.0": "orchestrator",
        "$JS.ACK.OUTRIDER_LEDGER.c1.1.1.1.1.0": "ops",
        "$JS.SNAPSHOT.ACK.OUTRIDER_LEDGER.x": "ops",
        "$JS.API.INFO": "ops",
        "$JS.API.STREAM.LIST": "ops",
        "$JS.API.STREAM.CREATE.MINE": "",
        "$JS.API.STREAM.DELETE.MINE": "",
        "$JS.API.META.LEADER.STEPDOWN": "",
        "$JS.API.ACCOUNT.PURGE.APP": "",
    }
