"""The workspace's signing key: Ed25519, made at first use, and whose signatures are trusted.

keys/signing.pem (mode 0600) signs; a signature is trusted when its public key is the workspace's own or one of
keys/trusted/*.pem. Source: RFC 8032.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.core.errors import NoRoom, Refused
from tidemill.core.ids import new_id
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign(ws: Workspace, data: bytes) -> tuple[str, str]:
    """(public key, signature) of the data, hexadecimal; makes the workspace's key at first use."""
    key = _own_key(ws.root / "keys")
    return key.public_key().public_bytes_raw().hex(), key.sign(data).hex()


def verify(ws: Workspace, data: bytes, *, public_key: str, signature: str, what: str) -> None:
    """Raise Refused unless a trusted key signed exactly these bytes; `what` names them in the message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    folder = ws.root / "keys"
    if public_key not in trusted(folder):
        raise Refused(
            f"{what} is signed by key {public_key[:16]}..., which this workspace does not trust; if you know it, put "
            f"its public key (PEM) into {folder / 'trusted'}"
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError) as error:
        raise Refused(
            f"{what} does not match its signature: it was changed after signing; build and register the model again"
        ) from error


def trusted(folder: Path) -> set[str]:
    """The trusted public keys, hexadecimal: the own one and those in trusted/."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = {_own_key(folder).public_key().public_bytes_raw().hex()}
    for path in sorted((folder / "trusted").glob("*.pem")):
        try:
            key = load_pem_public_key(path.read_bytes())
        except ValueError as error:
            raise Refused(f"{path} is no public key in PEM; remove it or write it again") from error
        if isinstance(key, Ed25519PublicKey):
            found.add(key.public_bytes_raw().hex())
    return found


def _own_key(folder: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = folder / "signing.pem"
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _publish(path, made)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise Refused(f"{path} is no private key; restore it from a backup, or remove it to make a new one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} holds a {type(key).__name__}; it must be an Ed25519 key")
    return key


def _publish(path: Path, data: bytes) -> None:
    """Write a secret file once: of two processes that make it at once, the first wins."""
    draft = path.with_name(f".{path.name}.{new_id()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    except OSError as error:
        raise NoRoom(
            f"cannot write the signing key to {path}: {error.strerror}; make {path.parent} writable"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
