"""A secret in both forms at once, for a definition that channels verify and outgoing connections show to others.

What is stored, and what a Struct has, is `$argon2id$… enc:…`: a hash, which is all that verifying needs, and beside it
what only the secret key opens. One that was stored before there were both is the hash alone.
"""

from __future__ import annotations

HASHED = '$argon2id$'
ENCRYPTED = 'enc:'
_BETWEEN = f' {ENCRYPTED}'


def join(hashed: str, sealed: str) -> str:
    """The two as one text."""
    return f'{hashed} {sealed}'


def hash_of(stored: str) -> str:
    """What a password is verified against; '' where there is none yet."""
    return stored.partition(_BETWEEN)[0]


def sealed_of(stored: str) -> str:
    """What the secret key opens (OutgoingContext.unseal); '' where there is none yet, or only a hash: then the password
    is to be set again before it can be shown to anybody."""
    return f'{ENCRYPTED}{stored.partition(_BETWEEN)[2]}' if is_dual(stored) else ''


def is_dual(text: str) -> bool:
    """Whether it has this form."""
    return text.startswith(HASHED) and _BETWEEN in text
