"""OAuth 2.0 access tokens from the client credentials grant (RFC 6749 §4.4): request, response, and lifetime. No
I/O."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus

import msgspec

from zatotx.rules.routing.url_template import encode_query
from zatotx.security.oauth2_client import OAuth2Client

DEFAULT_LIFETIME = 300.0  # seconds that a token is used whose response does not tell its lifetime
_EXPIRY_MARGIN = 5.0  # seconds before its expiry from which on a token is not used: it has to reach the peer
# A token is renewed when this fraction of its lifetime, at most so many seconds, remains.
_RENEWAL_FRACTION, _MAX_RENEWAL_MARGIN = 0.2, 60.0
_MAX_LIFETIME = 366 * 86_400.0


class TokenRefused(Exception):  # noqa: N818 - what it is
    """The authorization server issued no token. The message gives the reason, as a clause without a subject, and
    contains no secrets."""


class AccessToken(msgspec.Struct, frozen=True):
    """An access token and its times, in seconds since the epoch."""

    value: str
    renew_at: float
    expires_at: float

    def __repr__(self) -> str:
        return f'<Token until {self.expires_at:.0f}>'

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the token without revealing it."""
        return sha256(self.value.encode('utf-8')).hexdigest()


class _TokenResponse(msgspec.Struct):
    access_token: str
    token_type: str = 'Bearer'
    expires_in: float | str | None = None


class _ErrorResponse(msgspec.Struct):
    error: str = ''


def token_request(definition: OAuth2Client) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the header fields and the body of a token request."""
    form = {'grant_type': 'client_credentials', **definition.extra_fields}
    if definition.scopes:
        form['scope'] = ' '.join(definition.scopes)
    fields = [(b'Content-Type', b'application/x-www-form-urlencoded'), (b'Accept', b'application/json')]
    if definition.client_auth == 'basic':  # RFC 6749 §2.3.1: form-encoded before they are joined
        pair = f'{quote_plus(definition.client_id)}:{quote_plus(definition.client_secret)}'
        fields.append((b'Authorization', b'Basic ' + b64encode(pair.encode('ascii'))))
    else:
        form |= {'client_id': definition.client_id, 'client_secret': definition.client_secret}
    return fields, encode_query(form)


def parse_token_response(status: int, body: bytes, now: float) -> AccessToken:
    """Parse the response to a token request, and return the token. Raises TokenRefused."""
    if status != 200:
        raise TokenRefused(f'its server answered {status}{_error_code(body)}')
    try:
        response = msgspec.json.decode(body, type=_TokenResponse)
    except msgspec.MsgspecError:
        raise TokenRefused('its server answered what is not JSON with an access_token') from None
    if response.token_type.lower() != 'bearer':
        raise TokenRefused('its server gives tokens of another type than Bearer')
    value = response.access_token
    if not value or not value.isascii() or not value.isprintable() or ' ' in value:
        raise TokenRefused('its server gave a token that no header can have')
    lifetime = _lifetime(response.expires_in)
    ends = now + lifetime - _EXPIRY_MARGIN
    return AccessToken(value, ends - min(lifetime * _RENEWAL_FRACTION, _MAX_RENEWAL_MARGIN), ends)


def definition_fingerprint(definition: OAuth2Client) -> str:
    """Return a hash that identifies the current version of a definition, and reveals no secret."""
    values = [definition.token_url, definition.client_id, definition.client_secret, definition.scopes,
            sorted(definition.extra_fields.items())]  # fmt: skip
    return sha256(msgspec.json.encode(values)).hexdigest()[:32]


def _lifetime(expires_in: Any) -> float:
    try:
        lifetime = DEFAULT_LIFETIME if expires_in is None else float(expires_in)
    except ValueError:
        return DEFAULT_LIFETIME
    return min(max(lifetime, 0.0), _MAX_LIFETIME)


def _error_code(body: bytes) -> str:
    """Return the error code (RFC 6749 §5.2) if there is a valid one: the peer must not be able to write our
    messages."""
    try:
        code = msgspec.json.decode(body, type=_ErrorResponse).error
    except msgspec.MsgspecError:
        return ''
    is_valid = 0 < len(code) <= 60 and code.isascii() and code.replace('_', '').replace('-', '').isalnum()
    return f' {code}' if is_valid else ''
