"""Secrets at rest: Fernet for what must be read back, argon2id for what need only be verified."""

from __future__ import annotations

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError
from cryptography.fernet import Fernet, InvalidToken

from zatotx.model.faults import ServiceUnavailable

HASHED = '$argon2id$'
ENCRYPTED = 'enc:'
_CHECK = 'zatotx'

# OWASP's lower setting for argon2id: 19 MiB, 2 passes, 1 lane.
_hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)


def new_key() -> str:
    """A fresh key for Secrets."""
    return Fernet.generate_key().decode('ascii')


def hash_secret(clear: str) -> str:
    """The argon2id hash; text that is such a hash already is kept. Takes about 20 ms and 19 MiB: never in the reactor's
    thread."""
    return clear if is_hash(clear) else _hasher.hash(clear)


def is_hash(text: str) -> bool:
    """Whether it is an argon2id hash, and one that costs no more than 64 MiB and 10 passes to verify."""
    if not text.startswith(HASHED):
        return False
    try:
        found = extract_parameters(text)
    except InvalidHashError:
        return False
    return found.memory_cost <= 65536 and found.time_cost <= 10


def verify(hashed: str, clear: str) -> bool:
    """Whether the hash is of this secret. As slow as hash_secret. Never raises for a hash that is none."""
    try:
        return _hasher.verify(hashed, clear)
    except (Argon2Error, InvalidHashError):
        return False


class Secrets:
    """Encryption with the key all servers of a cluster share. Raises ValueError for text that is no such key."""

    __slots__ = ('_fernet',)

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key.strip())
        except ValueError as error:
            raise ValueError(
                'The secret key is not 32 url-safe base64-encoded bytes; `zatotx crypto generate-key` makes one'
            ) from error

    def encrypt(self, clear: str) -> str:
        """`enc:…`; text that is this already, by this key, is kept."""
        if clear.startswith(ENCRYPTED) and self._ours(clear):
            return clear
        return ENCRYPTED + self._fernet.encrypt(clear.encode('utf-8')).decode('ascii')

    def decrypt(self, stored: str) -> str:
        """What was encrypted. Raises ServiceUnavailable where it was so with another key."""
        try:
            return self._fernet.decrypt(stored.removeprefix(ENCRYPTED)).decode('utf-8')
        except InvalidToken:
            raise ServiceUnavailable(
                'The secret key of this server is not the one the ODB was written with: all servers of a cluster '
                'need the same config/secret.key or ZATOTX_SECRET_KEY'
            ) from None

    def _ours(self, stored: str) -> bool:
        try:
            self.decrypt(stored)
        except ServiceUnavailable:
            return False
        return True

    def at_rest(self, kind: str, clear: str) -> str:
        """The stored form. `kind`: 'encrypted' or 'hashed'. Empty text stays empty."""
        if not clear:
            return clear
        return hash_secret(clear) if kind == 'hashed' else self.encrypt(clear)

    def in_use(self, kind: str, stored: str) -> str:
        """From the stored form to the one a Stored has."""
        return self.decrypt(stored) if kind == 'encrypted' and stored else stored

    def key_check(self) -> str:
        """A text by which `check` tells this key from others."""
        return self.encrypt(_CHECK)

    def check(self, stored: str) -> None:
        """Raises ServiceUnavailable where `stored` is of another key."""
        self.decrypt(stored)
