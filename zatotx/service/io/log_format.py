"""Formats the input and output of services for the log. Secrets are masked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from zatotx.service.io.elements import Secret, to_mapping
from zatotx.service.response import Payload, payload_content

MASK = '******'
MAX_LENGTH = 20_000  # characters
# Feature map 3.5: names that 3.x's simple-io.conf treats as secrets.
SECRET_NAMES = frozenset(
    ('auth_data', 'auth_token', 'password', 'password1', 'password2', 'secret', 'secret_key', 'token', 'api_key')
)


def format_for_log(service: Any, side: str, suppress_keys: Iterable[str] = ()) -> str:
    """Format the input or output of a service as text of at most 20,000 characters, with secrets masked. The input is
    `request.input` or otherwise the payload, and the output is `response.payload`."""
    io = service._zatotx.entry.metadata.io
    declared = io.input if side == 'input' else io.output
    hidden = {*SECRET_NAMES, *suppress_keys}
    hidden |= {
        field.name for field in getattr(declared, 'fields', ()) if isinstance(getattr(field, 'element', None), Secret)
    }
    if side == 'input':
        value = service.request.payload if declared is None else service.request.input
    else:
        value = service.response.payload
    text = repr(mask_secrets(payload_content(value) if isinstance(value, Payload) else value, hidden))
    return text if len(text) <= MAX_LENGTH else f'{text[:MAX_LENGTH]}… ({len(text)} characters)'


def mask_secrets(value: Any, secret_keys: set[str]) -> Any:
    """Return a copy of `value` as plain dicts and lists, in which the values of all keys in `secret_keys` are masked at
    any depth."""
    mapping = to_mapping(value)
    if mapping is not None:
        return {key: MASK if key in secret_keys else mask_secrets(item, secret_keys) for key, item in mapping.items()}
    if isinstance(value, (list, tuple)):
        return [mask_secrets(item, secret_keys) for item in value]
    return value if not isinstance(value, msgspec.Struct) else {}
