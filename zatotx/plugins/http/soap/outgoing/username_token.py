"""The UsernameToken of one message (UsernameToken Profile 1.0 §3.1): a nonce that was never used, and the moment."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_bytes

from zatotx.wire.soap.ws_security import UsernameToken

_NONCE = 16  # bytes


def new_username_token(username: str, password: str, *, is_digest: bool) -> UsernameToken:
    """It says when it was made, in clear text too: peers refuse what is old, or was there before."""
    now = datetime.now(UTC)
    created = f'{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z'
    return UsernameToken(username, password, is_digest, token_bytes(_NONCE), created, now.timestamp())
