"""Reads and writes WS-Security headers with UsernameTokens (OASIS SOAP Message Security 1.1, UsernameToken Profile 1.0
and 1.1).

Elements are found by their position: a Security header among the headers of the envelope, a token among its children.
Anywhere else they are application data. Unknown elements of a Security header are rejected, since they could change its
meaning.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any

import msgspec

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import Element, SoapVersion
from zatotx.wire.xml.parser import PlainLxmlElements, text_of
from zatotx.wire.xml.writer import escape_attribute, replace_invalid_characters

__all__ = [
    'FAILED_AUTHENTICATION',
    'SECURITY',
    'Malformed',
    'SecurityHeader',
    'Timestamp',
    'UsernameToken',
    'password_digest',
    'read_security_header',
    'write_security_header',
]

_OASIS = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-'
WSSE = f'{_OASIS}wssecurity-secext-1.0.xsd'
WSU = f'{_OASIS}wssecurity-utility-1.0.xsd'
TEXT = f'{_OASIS}username-token-profile-1.0#PasswordText'
DIGEST = f'{_OASIS}username-token-profile-1.0#PasswordDigest'
BASE64 = f'{_OASIS}soap-message-security-1.0#Base64Binary'

SECURITY = f'{{{WSSE}}}Security'
FAILED_AUTHENTICATION = (
    f'{{{WSSE}}}FailedAuthentication'  # the fault code of failed authentication (SOAP Message Security §12)
)
_TOKEN, _TIMESTAMP = f'{{{WSSE}}}UsernameToken', f'{{{WSU}}}Timestamp'
_USERNAME, _PASSWORD, _NONCE = f'{{{WSSE}}}Username', f'{{{WSSE}}}Password', f'{{{WSSE}}}Nonce'
_CREATED, _EXPIRES = f'{{{WSU}}}Created', f'{{{WSU}}}Expires'
_TOKEN_TAGS, _TIMESTAMP_TAGS = frozenset((_USERNAME, _PASSWORD, _NONCE, _CREATED)), frozenset((_CREATED, _EXPIRES))

MAX_TOKENS = 8
_MAX_NONCE_LENGTH = 512  # bytes of base64
_MAX_TIME_LENGTH = 40  # characters


class UsernameToken(msgspec.Struct, frozen=True):
    """The UsernameToken of a WS-Security header: a user name, and a password or its digest."""

    username: str
    password: str  # or its digest in base64
    is_digest: bool
    nonce: bytes = b''  # b'' = none
    created: str = ''  # as sent, since it is part of the digest; '' = not given
    created_at: float | None = None  # seconds since 1970

    def __repr__(self) -> str:
        return f'UsernameToken({self.username!r}, created={self.created!r})'


class Timestamp(msgspec.Struct, frozen=True):
    """The Timestamp of a WS-Security header: the validity period of a message, in seconds since 1970. A limit that is
    not given is None."""

    created_at: float | None = None
    expires_at: float | None = None


class SecurityHeader(msgspec.Struct, frozen=True):
    """A parsed WS-Security header that is addressed to this node."""

    tokens: tuple[UsernameToken, ...]  # at least one
    timestamp: Timestamp | None = None


def read_security_header(headers: Sequence[Element], version: SoapVersion) -> SecurityHeader | None:
    """Return the WS-Security header addressed to this node, or None if there is none. Raises Malformed, without the
    input in its message, for several headers, a missing or invalid token, or an unknown element."""
    own_headers = [header for header in headers
            if header.tag == SECURITY and header.get(version.actor, '').strip() in version.own_actors]  # fmt: skip
    if not own_headers:
        return None
    if len(own_headers) > 1:
        raise Malformed('there are several Security headers for us')
    with PlainLxmlElements(own_headers[0]):
        return _parse_security(own_headers[0])


def password_digest(nonce: bytes, created: str, password: bytes) -> bytes:
    """Return the base64-encoded SHA-1 digest of nonce, creation time and password (UsernameToken Profile §3.1). The
    profile requires SHA-1. Collisions of SHA-1 are not a risk here, because a secret is hashed."""
    return b64encode(sha1(nonce + created.encode('utf-8') + password, usedforsecurity=False).digest())


def write_security_header(token: UsernameToken, version: SoapVersion) -> bytes:
    """Return a WS-Security header with the given token and the attribute mustUnderstand. `token.password` is the
    password in clear text; it is hashed if the token uses a digest."""
    password, kind = replace_invalid_characters(token.password), TEXT
    if token.is_digest:
        password, kind = (
            password_digest(token.nonce, token.created, token.password.encode('utf-8')).decode('ascii'),
            DIGEST,
        )
    pieces = [
        f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:soap="{version.namespace}" soap:mustUnderstand="1">'
        f'<wsse:UsernameToken><wsse:Username>{escape_attribute(replace_invalid_characters(token.username))}</wsse:Username>'
        f'<wsse:Password Type="{kind}">{escape_attribute(password)}</wsse:Password>'
    ]
    if token.nonce:
        nonce = b64encode(token.nonce).decode('ascii')
        pieces.append(f'<wsse:Nonce EncodingType="{BASE64}">{nonce}</wsse:Nonce>')
    if token.created:
        pieces.append(f'<wsu:Created xmlns:wsu="{WSU}">{escape_attribute(token.created)}</wsu:Created>')
    pieces.append('</wsse:UsernameToken></wsse:Security>')
    return ''.join(pieces).encode('utf-8')


def _parse_security(header: Element) -> SecurityHeader:
    tokens: list[UsernameToken] = []
    stamp: Timestamp | None = None
    for child in _children(header, 'Security'):
        if child.tag == _TOKEN:
            tokens.append(_parse_token(child))
        elif child.tag == _TIMESTAMP and stamp is None:
            stamp = _parse_timestamp(child)
        else:
            raise Malformed('the Security header has an element that is not known here, or a second Timestamp')
    if not 0 < len(tokens) <= MAX_TOKENS:
        raise Malformed(f'the Security header has no UsernameToken, or more than {MAX_TOKENS}')
    return SecurityHeader(tuple(tokens), stamp)


def _parse_token(element: Element) -> UsernameToken:
    parts = _children_by_tag(element, _TOKEN_TAGS, 'UsernameToken')
    username, password = parts.get(_USERNAME), parts.get(_PASSWORD)
    if username is None or password is None:
        raise Malformed('the UsernameToken has no Username, or no Password')
    kind = password.get('Type', TEXT)
    if kind not in (TEXT, DIGEST):
        raise Malformed('the Password is of a type that is not known here')
    created = _leaf_text(parts.get(_CREATED)).strip()
    return UsernameToken(
        _leaf_text(username),
        _leaf_text(password),
        kind == DIGEST,
        _parse_nonce(parts.get(_NONCE)),
        created,
        _parse_time(created) if created else None,
    )


def _parse_timestamp(element: Element) -> Timestamp:
    parts = _children_by_tag(element, _TIMESTAMP_TAGS, 'Timestamp')
    created, expires = (_leaf_text(parts.get(name)).strip() for name in (_CREATED, _EXPIRES))
    return Timestamp(_parse_time(created) if created else None, _parse_time(expires) if expires else None)


def _children_by_tag(element: Element, allowed_tags: frozenset[str], where: str) -> dict[str, Element]:
    """Return the children by tag. Raises Malformed for a duplicate or unknown one."""
    parts: dict[str, Element] = {}
    for child in _children(element, where):
        tag = child.tag
        if tag in parts or tag not in allowed_tags:
            raise Malformed(f'the {where} has an element that is not known here, or one of them twice')
        parts[tag] = child
    return parts


def _children(element: Element, where: str) -> Iterator[Any]:
    """Yield the child elements. Raises Malformed if there is other text."""
    if element.text and not element.text.isspace():
        raise Malformed(f'the {where} has text of its own')
    for child in element.iterchildren():
        yield child
        if child.tail and not child.tail.isspace():
            raise Malformed(f'the {where} has text of its own')


def _leaf_text(element: Element | None) -> str:
    """Return the text of an element; '' for None. Raises Malformed if it has children."""
    if element is None:
        return ''
    if element.getchildren():
        raise Malformed('a part of the Security header has elements in it')
    return text_of(element)


def _parse_nonce(element: Element | None) -> bytes:
    text = ''.join(_leaf_text(element).split())  # xs:base64Binary may have line breaks
    if element is None or not text:
        return b''
    if element.get('EncodingType', BASE64) != BASE64 or len(text) > _MAX_NONCE_LENGTH:
        raise Malformed('the Nonce is in an encoding that is not known here, or too long')
    try:
        if len(text) % 4:
            raise Error  # strict_mode accepts one superfluous '='
        return a2b_base64(text.encode('ascii'), strict_mode=True)
    except (Error, UnicodeEncodeError):
        raise Malformed('the Nonce is no base64') from None


def _parse_time(text: str) -> float:
    """Parse an xs:dateTime to seconds since 1970, UTC by default. Raises Malformed."""
    try:
        if len(text) > _MAX_TIME_LENGTH or not text.isascii() or text[10:11] != 'T':
            raise ValueError
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise Malformed('a time of the Security header is no xs:dateTime') from None
