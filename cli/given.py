"""What people give a command to read: JSON on the command line, in a file or on stdin. Knows no command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from outrider.broker.codec import finite
from outrider.cli.exit_codes import UsageError

STDIN = "-"


def text_of(name: str, option: str) -> str:
    """The text of a file, or of stdin for `-`. Raises UsageError that names the option."""
    try:
        body = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return body.decode("utf-8")
    except (OSError, ValueError) as error:
        where = "stdin" if name == STDIN else name
        why = f"{where} is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UsageError(f"{option} cannot be read: {why}") from None


def json_of(text: str, where: str) -> Any:
    """The value that JSON text says. Raises UsageError that tells what is wrong and where."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{where} is not JSON: {error}", hint="""for example --data '{"prompt": "hi"}'"""
        ) from None


def payload_from(text: str) -> Any:
    """The payload that `--data` names: JSON, `@FILE` or `-`. Raises UsageError."""
    if text == STDIN:
        return json_of(text_of(STDIN, "--data"), "stdin")
    if text.startswith("@"):
        return json_of(text_of(text[1:], "--data"), text[1:])
    return json_of(text, "--data")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")
