"""Encrypts and hashes secrets for storage. Secrets that must be read back are encrypted with Fernet, secrets that are
only verified are hashed with argon2id, and some secrets are stored in both forms.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError
from cryptography.fernet import Fernet, InvalidToken

from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.schema.secrets import (
    ENCRYPTED,
    HASHED,
    combine_dual_secret,
    encrypted_part_of_dual_secret,
    hash_of_dual_secret,
    is_dual_secret,
)

_CHECK = 'zatotx'
_ENCRYPTED_DOCUMENT = b'\xc1'  # the byte that MessagePack never uses

# OWASP's smaller recommended setting for argon2id: 19 MiB, 2 passes, 1 lane.
_hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)


def new_key() -> str:
    """Generate an encryption key for Secrets."""
    return Fernet.generate_key().decode('ascii')


def hash_secret(clear: str) -> str:
    """Return the argon2id hash of a secret; a value that is already hashed is returned unchanged. Hashing takes about
    20 ms and 19 MiB, so the function must not be called in the reactor's thread."""
    return clear if is_argon2id_hash(clear) else _hasher.hash(clear)


def is_argon2id_hash(text: str) -> bool:
    """Return whether the text is an argon2id hash whose verification takes at most 64 MiB and 10 passes."""
    if not text.startswith(HASHED):
        return False
    try:
        parameters = extract_parameters(text)
    except InvalidHashError:
        return False
    return parameters.memory_cost <= 65536 and parameters.time_cost <= 10


def split_keys(text: str) -> list[str]:
    """Split the text of a key file or of ZATOTX_SECRET_KEY into keys, separated by newlines or commas. The first key is
    used for encryption."""
    return text.replace(',', ' ').split()


def _fernets(text: str) -> tuple[Fernet, ...]:
    try:
        fernets = tuple(Fernet(key) for key in split_keys(text))
    except ValueError:
        fernets = ()
    if not fernets:
        raise ValueError(
            'The secret key is not 32 url-safe base64-encoded bytes; `zatotx crypto generate-key` makes one'
        )
    return fernets


class Secrets:
    """Encrypts and decrypts secrets with the key that all servers of a cluster share. During a key rotation there are
    two keys, and the new key comes first.

    `read_keys` reads the keys again: a running process refreshes them before it stores a secret, and when it meets one
    that it cannot decrypt. Not for the reactor's thread. Raises ValueError for text that is not a key.
    """

    __slots__ = ('_fernets', '_keys_text', '_read_keys')

    def __init__(self, keys: str, read_keys: Callable[[], str] | None = None) -> None:
        self._keys_text, self._fernets, self._read_keys = keys, _fernets(keys), read_keys

    @classmethod
    def of(cls, keys: str | Secrets) -> Secrets:
        """Return `keys` as Secrets. Raises ValueError as the constructor does."""
        return keys if isinstance(keys, Secrets) else cls(keys)

    def refresh(self) -> bool:
        """Read the keys again; returns whether they changed. Unreadable keys are ignored.

        The previous keys are kept for decryption, because secrets on their way to the ODB may have been encrypted with
        them.
        """
        try:
            text = self._keys_text if self._read_keys is None else self._read_keys()
            if text == self._keys_text:
                return False
            self._fernets = (*_fernets(text), *self._fernets)
        except (StartError, ValueError):
            return False
        self._keys_text = text
        return True

    def encrypt(self, clear: str) -> str:
        """Return `enc:…`, encrypted with the first key; text already encrypted with one of the keys is returned as it
        is."""
        return clear if clear.startswith(ENCRYPTED) and self.can_decrypt(clear) else self._encrypt(clear)

    def decrypt(self, stored: str) -> str:
        """Return the decrypted text. Raises ServiceUnavailable if it was encrypted with another key."""
        clear = self._try_decrypt(stored)
        if clear is None and self.refresh():
            clear = self._try_decrypt(stored)
        if clear is None:
            raise _other_key()
        return clear

    def reencrypt(self, stored: str) -> str:
        """Re-encrypt with the first key what another of the keys encrypted; everything else, such as a hash, is
        kept."""
        if is_dual_secret(stored):
            return combine_dual_secret(
                hash_of_dual_secret(stored), self.reencrypt(encrypted_part_of_dual_secret(stored))
            )
        if not stored.startswith(ENCRYPTED) or _try_fernet(self._fernets[0], stored) is not None:
            return stored
        clear = self._try_decrypt(stored)
        return stored if clear is None else self._encrypt(clear)

    def encrypt_document(self, clear: bytes) -> bytes:
        """Return a document of MessagePack, encrypted with the first key, behind a byte that MessagePack never uses."""
        return _ENCRYPTED_DOCUMENT + urlsafe_b64decode(self._fernets[0].encrypt(clear))

    def decrypt_document(self, stored: bytes) -> bytes:
        """Return the document; one that is not encrypted, as those of former versions, is returned as it is. Raises
        ServiceUnavailable if it was encrypted with another key."""
        if not stored.startswith(_ENCRYPTED_DOCUMENT):
            return stored
        token = urlsafe_b64encode(stored.removeprefix(_ENCRYPTED_DOCUMENT))
        while True:
            for fernet in self._fernets:
                with suppress(InvalidToken):
                    return fernet.decrypt(token)
            if not self.refresh():
                raise _other_key()

    def reencrypt_document(self, stored: bytes) -> bytes:
        """Encrypt with the first key what another key encrypted, or none. What no key can decrypt is kept."""
        if stored.startswith(_ENCRYPTED_DOCUMENT):
            token = urlsafe_b64encode(stored.removeprefix(_ENCRYPTED_DOCUMENT))
            with suppress(InvalidToken):
                self._fernets[0].decrypt(token)
                return stored
        try:
            return self.encrypt_document(self.decrypt_document(stored))
        except ServiceUnavailable:
            return stored

    def can_decrypt(self, stored: str) -> bool:
        """Return whether one of the keys encrypted the text."""
        return self._try_decrypt(stored) is not None

    def _encrypt(self, clear: str) -> str:
        return ENCRYPTED + self._fernets[0].encrypt(clear.encode('utf-8')).decode('ascii')

    def _try_decrypt(self, stored: str) -> str | None:
        return next((clear for fernet in self._fernets if (clear := _try_fernet(fernet, stored)) is not None), None)

    def to_stored(self, kind: str, clear: str) -> str:
        """Return the stored form. `kind`: 'encrypted', 'hashed' or 'both'. Empty text stays empty."""
        if not clear:
            return clear
        if kind == 'hashed':
            return hash_secret(clear)
        return self._hash_and_encrypt(clear) if kind == 'both' else self.encrypt(clear)

    def _hash_and_encrypt(self, clear: str) -> str:
        """Return hash and ciphertext. Text that has both or is a hash is kept; ciphertext of another cluster's key is
        dropped."""
        hashed = hash_of_dual_secret(clear) if is_dual_secret(clear) else clear
        if not is_argon2id_hash(hashed):
            return combine_dual_secret(hash_secret(clear), self._encrypt(clear))
        sealed = encrypted_part_of_dual_secret(clear)
        return combine_dual_secret(hashed, sealed) if sealed and self.can_decrypt(sealed) else hashed

    def from_stored(self, kind: str, stored: str) -> str:
        """Convert the stored form to that of a Stored: an encrypted secret is decrypted; one with both forms is left to
        its user."""
        return self.decrypt(stored) if kind == 'encrypted' and stored else stored

    def key_check(self) -> str:
        """Return a text that lets `check_key` recognize this key."""
        return self.encrypt(_CHECK)

    def check_key(self, stored: str) -> None:
        """Raise ServiceUnavailable if `stored` was made with another key."""
        self.decrypt(stored)


def _other_key() -> ServiceUnavailable:
    return ServiceUnavailable(
        None,
        'The secret key of this server is not the one that encrypted the ODB: all servers of a cluster need the same '
        'config/secret.key or ZATOTX_SECRET_KEY',
    )


def _try_fernet(fernet: Fernet, stored: str) -> str | None:
    try:
        return fernet.decrypt(stored.removeprefix(ENCRYPTED)).decode('utf-8')
    except InvalidToken:
        return None
