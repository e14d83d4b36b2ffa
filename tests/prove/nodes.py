"""Three nats-servers in one cluster on loopback, each with its own store, that can be killed one by one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.server import PrivateServer
from tests.prove.passing import pass_time

NAMES = ("n0", "n1", "n2")
TOGETHER_WITHIN_S = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


def _configuration(name: str, routes: dict[str, int], sync: str) -> str:
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for other, port in routes.items() if other != name)
    return f"""
server_name: {name}
jetstream {{ max_file: 100GB, sync_interval: {sync} }}
cluster {{ name: prove, listen: "127.0.0.1:{routes[name]}", routes: [{others}] }}
"""


class Cluster:
    """The nodes by name."""

    def __init__(self, stores: dict[str, Path], folder: Path, sync: str = "always") -> None:
        routes = dict(zip(NAMES, free_ports(3), strict=True))
        ports = free_ports(3)
        self.nodes: dict[str, PrivateServer] = {}
        for name, port in zip(NAMES, ports, strict=True):
            config = folder / f"{name}.conf"
            config.write_text(_configuration(name, routes, sync))
            self.nodes[name] = PrivateServer(store=stores[name], port=port, config=config)

    @property
    def settings(self) -> NatsSettings:
        return NatsSettings(url=",".join(node.url for node in self.nodes.values()), source="proof")

    async def start(self) -> None:
        """Start all and wait until JetStream answers on each."""
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        async with asyncio.timeout(TOGETHER_WITHIN_S):
            for node in self.nodes.values():
                await _until_jetstream(node)

    async def leader(self, connection: Connection, stream: str) -> str:
        """The node that leads a stream now, or "" during an election."""
        try:
            info = await connection.api(f"STREAM.INFO.{stream}", timeout_s=1.0)
        except OutriderError:
            return ""
        return str(info.get("cluster", {}).get("leader", ""))

    async def until_complete(self, connection: Connection, streams: list[str]) -> None:
        """Wait until every stream has a leader and two replicas that lag behind nothing."""
        async with asyncio.timeout(TOGETHER_WITHIN_S):
            for stream in streams:
                while not await _is_complete(connection, stream):
                    await pass_time(0.1)

    async def stop(self) -> None:
        for node in self.nodes.values():
            node.kill()
            await node.stop()


async def _until_jetstream(node: PrivateServer) -> None:
    settings = NatsSettings(url=node.url, source="proof")
    while True:
        try:
            async with await Connection.open(settings, "proof") as connection:
                await connection.api("INFO", timeout_s=1.0)
                return
        except OutriderError:
            await pass_time(0.1)


async def _is_complete(connection: Connection, stream: str) -> bool:
    try:
        info = await connection.api(f"STREAM.INFO.{stream}", timeout_s=1.0)
    except OutriderError:
        return False
    cluster = info.get("cluster", {})
    replicas = cluster.get("replicas", [])
    are_current = all(r.get("current") and not r.get("offline") for r in replicas)
    return bool(cluster.get("leader")) and len(replicas) == len(NAMES) - 1 and are_current


@asynccontextmanager
async def running_cluster(folder: Path, sync: str = "always") -> AsyncIterator[Cluster]:
    """Three nodes that know each other."""
    cluster = Cluster({name: folder / name for name in NAMES}, folder, sync)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
