"""`outrider decode`: any body of the wire as one line of JSON. For `nats sub --translate`."""

from __future__ import annotations

import argparse
import sys

from outrider.cli.exit_codes import OK
from outrider.cli.output import document
from outrider.cli.parser import Commands, add_command


def add_to(commands: Commands) -> None:
    parser = add_command(
        commands,
        "decode",
        "turn a message body on stdin into a line of JSON",
        "nats sub 'outrider.ledger.>' --translate 'outrider decode'",
        text="Reads MessagePack or JSON.",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    from outrider.broker.codec import load  # noqa: PLC0415
    from outrider.broker.errors import DecodeError  # noqa: PLC0415

    try:
        body = sys.stdin.buffer.read()
    except OSError as error:
        raise DecodeError(f"stdin cannot be read: {error}") from None
    if not body:
        raise DecodeError("there is no body on stdin", hint="outrider decode < body")
    document(load(body))
    return OK
