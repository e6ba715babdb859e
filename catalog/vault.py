"""Keys for ID numbers: a keyed hash to look a number up, AES-GCM to keep it. Keys live in a file only."""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from catalog.errors import IntegrityFault

_NONCE_BYTES: Final = 12
_KEY_ID_BYTES: Final = 4


@dataclass(frozen=True, slots=True, repr=False)
class Vault:
    """The keys in use: one for the hash, several for the cipher (the first one encrypts)."""

    hash_key: bytes
    cipher_keys: dict[str, bytes]

    def digest(self, id_type: str, number: str) -> bytes:
        """Return the 32-byte keyed hash under which a document is found."""
        return hmac.new(self.hash_key, f"{id_type}:{number}".encode(), hashlib.sha256).digest()

    def seal(self, id_type: str, number: str) -> bytes:
        """Return the number encrypted with AES-256-GCM and bound to its document type."""
        key_id, key = next(iter(self.cipher_keys.items()))
        nonce = os.urandom(_NONCE_BYTES)
        return bytes.fromhex(key_id) + nonce + AESGCM(key).encrypt(nonce, number.encode(), id_type.encode())

    def open(self, id_type: str, sealed: bytes) -> str:
        """Return the number in clear. Raises IntegrityFault where the key is missing or the value altered."""
        key = self.cipher_keys.get(sealed[:_KEY_ID_BYTES].hex())
        nonce, value = sealed[_KEY_ID_BYTES:][:_NONCE_BYTES], sealed[_KEY_ID_BYTES + _NONCE_BYTES :]
        try:
            if key is not None:
                return AESGCM(key).decrypt(nonce, value, id_type.encode()).decode()
        except InvalidTag:
            pass
        raise IntegrityFault("证件号码无法解密", "An ID number cannot be decrypted")


def open_vault(path: Path) -> Vault:
    """Return the vault kept in the JSON file `path`, made with fresh keys and mode 0600 if absent."""
    if not path.exists():
        _create(path)
    content = orjson.loads(path.read_bytes())
    ciphers = {key_id: bytes.fromhex(value) for key_id, value in content["cipher_keys"].items()}
    return Vault(bytes.fromhex(content["hash_key"]), ciphers)


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


def _create(path: Path) -> None:
    keys = {
        "hash_key": secrets.token_hex(32),
        "cipher_keys": {secrets.token_hex(_KEY_ID_BYTES): secrets.token_hex(32)},
    }
    write_secret(path, orjson.dumps(keys))
