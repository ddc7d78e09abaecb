"""Masks secrets in configuration objects as `******`, and handles secrets that are stored both hashed and encrypted.

Values without a schema (settings, URLs) are masked by their names and forms; see also zatotx.wire.url_masking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.schema.meta import secret_fields_of_struct
from zatotx.wire.url_masking import is_secret_name, mask_urls

MASK = '******'

_ENCRYPTED = re.compile(r'enc:gAAAA[\w=-]*')


def mask_secrets(struct: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with all non-empty secrets masked."""
    secrets = secret_fields_of_struct(struct)
    return {name: MASK if name in secrets and value else value for name, value in document.items()}


class ConfigObject(msgspec.Struct, frozen=True, kw_only=True):
    """The base class of the Structs of all object types: immutable, with secrets masked in its repr."""

    def __repr__(self) -> str:
        fields = mask_secrets(type(self), msgspec.structs.asdict(self))
        return f'{type(self).__name__}({", ".join(f"{name}={value!r}" for name, value in fields.items())})'


def mask_setting(name: str, value: Any) -> Any:
    """Mask a setting whose name indicates a secret. The passwords in URLs are also masked. `name` is the name of the
    setting."""
    if isinstance(value, str):
        return MASK if value and is_secret_name(name) else _ENCRYPTED.sub(f'enc:{MASK}', mask_urls(value))
    if isinstance(value, Mapping):
        return {key: mask_setting(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_setting(name, item) for item in value]
    return value


# Secrets stored both hashed and encrypted, for definitions that channels verify and outgoing connections send.
#
# The stored form, also in Structs, is `$argon2id$… enc:…`: the hash for verification, and the secret encrypted with
# the secret key. Values stored before dual secrets existed are a hash only.

HASHED = '$argon2id$'
ENCRYPTED = 'enc:'
_BETWEEN = f' {ENCRYPTED}'


def combine_dual_secret(hashed: str, sealed: str) -> str:
    """Combine a hash and an encrypted secret into the form in which a dual secret is stored."""
    return f'{hashed} {sealed}'


def hash_of_dual_secret(stored: str) -> str:
    """Return the hash with which a password is verified, or '' if no password is set."""
    return stored.partition(_BETWEEN)[0]


def encrypted_part_of_dual_secret(stored: str) -> str:
    """Return the encrypted secret, which OutgoingContext.unseal decrypts. Returns '' if no password is set, or if only
    a hash is stored. In the latter case, the password must be set again before an outgoing connection can use it."""
    return f'{ENCRYPTED}{stored.partition(_BETWEEN)[2]}' if is_dual_secret(stored) else ''


def is_dual_secret(text: str) -> bool:
    """Return whether a text has the form in which a dual secret is stored."""
    return text.startswith(HASHED) and _BETWEEN in text
