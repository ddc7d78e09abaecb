"""Secrets at rest: Fernet for what must be read back, argon2id for what need only be verified, and both."""

from __future__ import annotations

from collections.abc import Callable

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError
from cryptography.fernet import Fernet, InvalidToken

from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.schema.dual_secret import ENCRYPTED, HASHED, hash_of, is_dual, join, sealed_of

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


def keys_in(text: str) -> list[str]:
    """The keys of a key file or of ZATOTX_SECRET_KEY: one a line, or with commas between them; the first encrypts."""
    return text.replace(',', ' ').split()


def _fernets(text: str) -> tuple[Fernet, ...]:
    try:
        found = tuple(Fernet(key) for key in keys_in(text))
    except ValueError:
        found = ()
    if not found:
        raise ValueError(
            'The secret key is not 32 url-safe base64-encoded bytes; `zatotx crypto generate-key` makes one'
        )
    return found


class Secrets:
    """Encryption with the key all servers of a cluster share; during a rotation there are two, the new one first.

    `look` reads the keys again: a process that runs takes up keys that have changed before it stores a secret, and
    where it meets one that it cannot decrypt. Not for the reactor's thread. Raises ValueError for text that is no key.
    """

    __slots__ = ('_fernets', '_look', '_text')

    def __init__(self, keys: str, look: Callable[[], str] | None = None) -> None:
        self._text, self._fernets, self._look = keys, _fernets(keys), look

    @classmethod
    def of(cls, keys: str | Secrets) -> Secrets:
        """For those who may have either. Raises ValueError as Secrets itself."""
        return keys if isinstance(keys, Secrets) else cls(keys)

    def refresh(self) -> bool:
        """Take up the keys as they are now; whether they have changed. Keys that cannot be read now change nothing.

        Keys there were before still decrypt: what is on its way to the ODB may have been encrypted with them."""
        try:
            text = self._text if self._look is None else self._look()
            if text == self._text:
                return False
            self._fernets = (*_fernets(text), *self._fernets)
        except (StartError, ValueError):
            return False
        self._text = text
        return True

    def encrypt(self, clear: str) -> str:
        """`enc:…`, by the first key; text that is this already, by a key of ours, is kept."""
        return clear if clear.startswith(ENCRYPTED) and self.is_ours(clear) else self._sealed(clear)

    def decrypt(self, stored: str) -> str:
        """What was encrypted. Raises ServiceUnavailable where it was so with another key."""
        found = self._decrypted(stored)
        if found is None and self.refresh():
            found = self._decrypted(stored)
        if found is None:
            raise ServiceUnavailable(
                None,
                'The secret key of this server is not the one the ODB was written with: all servers of a cluster '
                'need the same config/secret.key or ZATOTX_SECRET_KEY'
            )
        return found

    def renewed(self, stored: str) -> str:
        """What is encrypted with another key than the first, encrypted with that; all else is kept, such as the hash
        beside it."""
        if is_dual(stored):
            return join(hash_of(stored), self.renewed(sealed_of(stored)))
        if not stored.startswith(ENCRYPTED) or _opened(self._fernets[0], stored) is not None:
            return stored
        clear = self._decrypted(stored)
        return stored if clear is None else self._sealed(clear)

    def is_ours(self, stored: str) -> bool:
        """Whether it was encrypted with a key of ours."""
        return self._decrypted(stored) is not None

    def _sealed(self, clear: str) -> str:
        return ENCRYPTED + self._fernets[0].encrypt(clear.encode('utf-8')).decode('ascii')

    def _decrypted(self, stored: str) -> str | None:
        return next((clear for fernet in self._fernets if (clear := _opened(fernet, stored)) is not None), None)

    def at_rest(self, kind: str, clear: str) -> str:
        """The stored form. `kind`: 'encrypted' or 'both'. Empty text stays empty."""
        if not clear:
            return clear
        return self._in_both_forms(clear) if kind == 'both' else self.encrypt(clear)

    def _in_both_forms(self, clear: str) -> str:
        """Text that has both, or is a hash, is kept; what another cluster's key encrypted is of no use here."""
        hashed = hash_of(clear) if is_dual(clear) else clear
        if not is_hash(hashed):
            return join(hash_secret(clear), self._sealed(clear))
        sealed = sealed_of(clear)
        return join(hashed, sealed) if sealed and self.is_ours(sealed) else hashed

    def in_use(self, kind: str, stored: str) -> str:
        """From the stored form to the one a Stored has: only what is encrypted alone is decrypted, what has both forms
        is opened by those who need it."""
        return self.decrypt(stored) if kind == 'encrypted' and stored else stored

    def key_check(self) -> str:
        """A text by which `check` tells this key from others."""
        return self.encrypt(_CHECK)

    def check(self, stored: str) -> None:
        """Raises ServiceUnavailable where `stored` is of another key."""
        self.decrypt(stored)


def _opened(fernet: Fernet, stored: str) -> str | None:
    try:
        return fernet.decrypt(stored.removeprefix(ENCRYPTED)).decode('utf-8')
    except InvalidToken:
        return None
