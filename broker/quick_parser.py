"""nats-py's parser with a short way for whole messages; all else goes the way that nats-py knows.

Belongs to `quick_client.py` and shares its pin. Knows the protocol's lines, not what they carry.
"""

from __future__ import annotations

from nats.protocol.parser import AWAITING_CONTROL_LINE, MAX_CONTROL_LINE_SIZE, Parser

END = b"\r\n"
SMALL = 128 * 1024
"""Larger bodies come in many pieces: they are gathered by nats-py, piece by piece."""

MUCH = 8 * 1024
"""Whoever gets so much at once has a backlog and does not linger."""


class QuickParser(Parser):
    """Reads messages from what has arrived without copying or matching it line by line."""

    async def parse(self, data: bytes = b"") -> None:
        size = len(data)
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:
                data = bytes(self.buf) + data
                self.buf.clear()
            data = data[await self._whole_messages(data) :]
            if _is_begun_message(data):
                self.buf.extend(data)
                data = b""
        if data:
            await super().parse(data)
        self.nc.write_now()
        if self.nc.linger_s and size < MUCH:
            await self.nc.linger()

    async def _whole_messages(self, data: bytes) -> int:
        """Hand on the messages that `data` begins with; returns how many bytes they took."""
        deliver = self.nc._process_msg
        start, length = 0, len(data)
        while start < length:
            line_end = data.find(END, start)
            found = _sizes(data[start:line_end]) if line_end > 0 else None
            if found is None:
                break
            subject, sid, reply, headers, size = found
            body = line_end + 2
            end = body + size
            if end + 2 > length:
                break
            await deliver(sid, subject, reply, data[body + headers : end], data[body : body + headers])
            start = end + 2
            if self.buf or self.state != AWAITING_CONTROL_LINE:
                break
        return start


def _is_begun_message(data: bytes) -> bool:
    """Whether `data` is the first part of a message that is small enough to wait for the rest of it here."""
    if not data.startswith((b"MSG ", b"HMSG ")):
        return False
    line, end, _ = data.partition(END)
    if not end:
        return len(line) < MAX_CONTROL_LINE_SIZE
    found = _sizes(line)
    return found is not None and found[-1] <= SMALL


def _sizes(line: bytes) -> tuple[bytes, int, bytes, int, int] | None:
    """Subject, subscription, reply, size of the headers and of all; None for what is no message."""
    parts = line.split(b" ")
    count = len(parts)
    try:
        if parts[0] == b"MSG" and 4 <= count <= 5:
            return parts[1], int(parts[2]), parts[3] if count == 5 else b"", 0, int(parts[-1])
        if parts[0] == b"HMSG" and 5 <= count <= 6:
            reply = parts[3] if count == 6 else b""
            return parts[1], int(parts[2]), reply, int(parts[-2]), int(parts[-1])
    except ValueError:
        return None
    return None
