"""JSON Web Signatures in their compact form (RFC 7515 §7.1), as tokens come. Strict: one text for each token."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.wire.json.unique_members import decode_object
from zatotx.wire.malformed import Malformed

LONGEST = 16_384  # bytes of a token; a head has a limit of its own, an embedding may not


class SignedToken(msgspec.Struct, frozen=True):
    """A token that was read, and not verified."""

    header: Mapping[str, Any]
    message: bytes  # what the signature is of
    payload: bytes
    signature: bytes


def parse_compact(token: bytes) -> SignedToken:
    """The parts of a token. Its payload is not looked at: that is for whoever has verified the signature. Raises
    Malformed, which repeats nothing of the token."""
    if len(token) > LONGEST:
        raise Malformed(f'the token is longer than {LONGEST} bytes')
    parts = token.split(b'.')
    if len(parts) != 3:
        raise Malformed(f'the token has {len(parts)} parts, and a signed one has 3')
    header, payload, signature = map(_decoded, parts)
    return SignedToken(decode_object(header), token[: token.rindex(b'.')], payload, signature)


def _decoded(part: bytes) -> bytes:
    """base64url without padding (RFC 7515 §2). Spare bits must be zero: else several texts would be one token."""
    try:
        decoded = urlsafe_b64decode(part + b'=' * (-len(part) % 4))
    except Error:
        decoded = b''
    if urlsafe_b64encode(decoded).rstrip(b'=') != part:
        raise Malformed('the token is not in base64url')
    return decoded
