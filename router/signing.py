"""The fleet's model key: an nkey in the state folder. Training needs the seed, serving the public half.

Knows bytes and signatures, not models.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

import nkeys  # type: ignore[import-untyped]
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from outrider.broker.errors import OutriderError

SEED_FILE = "model.nk"
PUBLIC_FILE = "model.pub"


class KeyProblem(OutriderError):
    """The model key cannot be read or used."""

    code = "model_key"
    default_hint = "keys live in the state folder under router/keys; remove the folder to make new ones"


def signing_key(folder: Path) -> nkeys.KeyPair:
    """The key pair in `folder`, made on first use and readable by its owner only. Raises KeyProblem."""
    seed_file = folder / SEED_FILE
    try:
        if not seed_file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_ACCOUNT)
            with os.fdopen(os.open(seed_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(seed)
        pair = nkeys.from_seed(bytearray(seed_file.read_bytes().strip()))
        public: bytes = pair.public_key
        if not (folder / PUBLIC_FILE).is_file():
            (folder / PUBLIC_FILE).write_bytes(public)
    except (OSError, nkeys.NkeysError, ValueError) as error:
        raise KeyProblem(f"model key {seed_file} cannot be used: {error}") from None
    return pair


def sign(folder: Path, data: bytes) -> bytes:
    """The signature of the fleet's model key, as text. Raises KeyProblem."""
    return base64.b64encode(signing_key(folder).sign(data))


def public_key(folder: Path) -> str:
    """The public half of the key in `folder`, empty without one. Raises KeyProblem."""
    try:
        return (folder / PUBLIC_FILE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise KeyProblem(f"model key {folder / PUBLIC_FILE} cannot be used: {error}") from None


def can_sign(folder: Path) -> bool:
    """Whether the folder holds the half that signs."""
    return (folder / SEED_FILE).is_file()


def is_signed(folder: Path, data: bytes, signature: bytes, key: str = "") -> bool:
    """Whether `signature` over `data` is the fleet's; False too when there is no key. Never raises.

    The fleet's key is `key` where it is given, else the one in `folder`.
    """
    try:
        encoded = key.encode() or (folder / PUBLIC_FILE).read_bytes().strip()
        raw = base64.b32decode(encoded + b"=" * (-len(encoded) % 8))
        VerifyKey(raw[1:33]).verify(data, base64.b64decode(signature, validate=True))
    except (OSError, binascii.Error, ValueError, CryptoError):
        return False
    return True
