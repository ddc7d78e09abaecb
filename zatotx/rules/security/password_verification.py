"""Verifies passwords against argon2id hashes (RFC 9106). Deliberately slow: about 20 ms and 19 MiB for each
verification.

Never call it in the reactor's thread. odb/secrets.py creates the hashes.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

_verifier = PasswordHasher()  # the costs of a verification are those in the hash


def verify_password(hashed: str, password: str) -> bool:
    """Return whether the password matches the hash. No password matches a malformed hash."""
    try:
        return _verifier.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False
