"""Keys for ID numbers: a keyed hash to look a number up, AES-GCM to keep it. Keys live in a file only.

    {"current": "1f0c9a3e", "keys": {"1f0c9a3e": {"hash": "<hex>", "cipher": "<hex>"}, …}}

A key is a pair: what is written is hashed and encrypted with the current one and begins with its name, what is
looked up is tried under every one. The file is read again when it changes, so a rotation needs no restart.
"""

import hmac
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.errors import IntegrityFault

_NONCE_BYTES: Final = 12
KEY_ID_BYTES: Final = 4
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """One key for the hash and one for the cipher."""

    hash: bytes
    cipher: bytes

    @classmethod
    def fresh(cls) -> "KeyPair":
        """Return a pair nobody has seen."""
        return cls(secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_KEY_BYTES))


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Every key in use by its name (8 hex digits), and which of them writes."""

    current: str
    keys: dict[str, KeyPair]

    def encode(self) -> bytes:
        """Return the content of the file."""
        keys = {name: {"hash": k.hash.hex(), "cipher": k.cipher.hex()} for name, k in self.keys.items()}
        return orjson.dumps({"current": self.current, "keys": keys}, option=orjson.OPT_INDENT_2)


class Vault:
    """The keys of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._ring = KeyRing("", {})
        _ = self.ring

    @property
    def ring(self) -> KeyRing:
        """Return the keys as the file has them now."""
        status = self.path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            if stamp != self._stamp:
                self._ring, self._stamp = _decode(self.path.read_bytes()), stamp
            return self._ring

    def digest(self, id_type: str, number: str) -> bytes:
        """Return the 32-byte keyed hash under which a document is kept."""
        ring = self.ring
        return _digest(ring.keys[ring.current], id_type, number)

    def digests(self, id_type: str, number: str) -> list[bytes]:
        """Return the hashes under which a document may be found, one for each key."""
        return [_digest(key, id_type, number) for key in self.ring.keys.values()]

    def seal(self, id_type: str, number: str) -> bytes:
        """Return the number encrypted with AES-256-GCM and bound to its document type."""
        ring = self.ring
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(ring.keys[ring.current].cipher)
        return bytes.fromhex(ring.current) + nonce + cipher.encrypt(nonce, number.encode(), id_type.encode())

    def seal_many(self, id_type: str, numbers: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
        """Yield hash and encrypted number of each, as `digest` and `seal` give them, under one reading of the file."""
        ring = self.ring
        key, name, kind = ring.keys[ring.current], bytes.fromhex(ring.current), id_type.encode()
        encrypt = AESGCM(key.cipher).encrypt
        for number in numbers:
            nonce = os.urandom(_NONCE_BYTES)
            yield _digest(key, id_type, number), name + nonce + encrypt(nonce, number.encode(), kind)

    def open(self, id_type: str, sealed: bytes) -> str:
        """Return the number in clear. Raises IntegrityFault where the key is missing or the value altered."""
        key = self.ring.keys.get(sealed[:KEY_ID_BYTES].hex())
        nonce, value = sealed[KEY_ID_BYTES:][:_NONCE_BYTES], sealed[KEY_ID_BYTES + _NONCE_BYTES :]
        try:
            if key is not None:
                return AESGCM(key.cipher).decrypt(nonce, value, id_type.encode()).decode()
        except InvalidTag:
            pass
        raise IntegrityFault("证件号码无法解密", "An ID number cannot be decrypted")

    def replace(self, ring: KeyRing) -> None:
        """Write other keys to the file, as a whole or not at all."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        write_secret(draft, ring.encode())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_vault(path: Path) -> Vault:
    """Return the vault kept in the JSON file `path`, made with fresh keys and mode 0600 if absent."""
    if not path.exists():
        name = new_key_name()
        write_secret(path, KeyRing(name, {name: KeyPair.fresh()}).encode())
    return Vault(path)


def new_key_name() -> str:
    """Return a name for a new key."""
    return secrets.token_hex(KEY_ID_BYTES)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file readable by its owner only; where it exists already, that one stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()


def _digest(key: KeyPair, id_type: str, number: str) -> bytes:
    keyed = _keyed(key.hash).copy()
    keyed.update(f"{id_type}:{number}".encode())
    return keyed.digest()


@lru_cache(maxsize=64)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return the hash as it stands after its key: to make it takes ten times as long as to use it."""
    return hmac.new(key, digestmod="sha256")


def _decode(content: bytes) -> KeyRing:
    values = orjson.loads(content)
    if "hash_key" in values:  # one hash key beside several ciphers, as the first release wrote it
        hashed = bytes.fromhex(values["hash_key"])
        ciphers = {name: KeyPair(hashed, bytes.fromhex(key)) for name, key in values["cipher_keys"].items()}
        return KeyRing(next(iter(ciphers)), ciphers)
    keys = {
        name: KeyPair(bytes.fromhex(key["hash"]), bytes.fromhex(key["cipher"]))
        for name, key in values["keys"].items()
    }
    return KeyRing(values["current"], keys)
