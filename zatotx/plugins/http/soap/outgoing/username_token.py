"""The UsernameToken of one message (UsernameToken Profile 1.0 §3.1), with a new nonce and the current time."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_bytes

from zatotx.wire.soap.ws_security import UsernameToken

_NONCE_SIZE = 16  # bytes


def new_username_token(username: str, password: str, *, is_digest: bool) -> UsernameToken:
    """Create a token. The time is included in clear text too, because peers reject old or repeated tokens."""
    now = datetime.now(UTC)
    created = f'{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z'
    return UsernameToken(username, password, is_digest, token_bytes(_NONCE_SIZE), created, now.timestamp())
