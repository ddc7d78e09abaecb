"""Secrets stored both hashed and encrypted, for definitions that channels verify and outgoing connections send.

The stored form, also in Structs, is `$argon2id$… enc:…`: the hash for verification, and the secret encrypted with the
secret key. Values stored before dual secrets existed are a hash only.
"""

from __future__ import annotations

HASHED = '$argon2id$'
ENCRYPTED = 'enc:'
_BETWEEN = f' {ENCRYPTED}'


def combine(hashed: str, sealed: str) -> str:
    """Combines a hash and an encrypted secret into the stored form."""
    return f'{hashed} {sealed}'


def get_hash(stored: str) -> str:
    """Returns the hash to verify a password against; '' if no password is set."""
    return stored.partition(_BETWEEN)[0]


def get_encrypted(stored: str) -> str:
    """Returns the encrypted secret for OutgoingContext.unseal; '' if there is none, or only a hash: then the password
    must be set again before an outgoing connection can use it."""
    return f'{ENCRYPTED}{stored.partition(_BETWEEN)[2]}' if is_dual_secret(stored) else ''


def is_dual_secret(text: str) -> bool:
    """Returns whether a text has the stored form of a dual secret."""
    return text.startswith(HASHED) and _BETWEEN in text
