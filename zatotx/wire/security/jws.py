"""Parses JSON Web Signatures in compact form (RFC 7515 §7.1). Strict: each token has exactly one representation."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.wire.json.unique_members import decode_object
from zatotx.wire.malformed import Malformed

MAX_LENGTH = 16_384  # bytes of a token; request heads are limited elsewhere, other callers may not be


class SignedToken(msgspec.Struct, frozen=True):
    """A parsed token whose signature was not verified."""

    header: Mapping[str, Any]
    signed_data: bytes  # the signed data
    payload: bytes
    signature: bytes


def parse_compact_jws(token: bytes) -> SignedToken:
    """Splits and decodes a token, except for its payload, which must only be decoded after verification. Raises
    Malformed, without the input in its message."""
    if len(token) > MAX_LENGTH:
        raise Malformed(f'the token is longer than {MAX_LENGTH} bytes')
    parts = token.split(b'.')
    if len(parts) != 3:
        raise Malformed(f'the token has {len(parts)} parts, and a signed one has 3')
    header, payload, signature = map(_decode_part, parts)
    return SignedToken(decode_object(header), token[: token.rindex(b'.')], payload, signature)


def _decode_part(part: bytes) -> bytes:
    """Decodes base64url without padding (RFC 7515 §2). Spare bits must be zero: otherwise a token would have several
    representations."""
    try:
        decoded = urlsafe_b64decode(part + b'=' * (-len(part) % 4))
    except Error:
        decoded = b''
    if urlsafe_b64encode(decoded).rstrip(b'=') != part:
        raise Malformed('the token is not in base64url')
    return decoded
