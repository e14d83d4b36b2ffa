"""The name of a large body that lies in the object store instead of in a message: its hash and its size.

Pure: knows neither what the body means nor how it is stored.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from outrider.broker.errors import InvalidTask

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A body of `size` bytes whose SHA-256 is `sha256`, in lower-case hex."""

    sha256: str
    size: int

    def check(self) -> ObjectRef:
        """The reference itself when it can name a body. Raises InvalidTask."""
        if not _SHA256.fullmatch(self.sha256) or self.size < 1:
            raise InvalidTask(f"{self.sha256[:80]!r} of {self.size} bytes is no reference to an object")
        return self


def ref_of(body: bytes) -> ObjectRef:
    """The reference that names this body."""
    return ObjectRef(hashlib.sha256(body).hexdigest(), len(body))
