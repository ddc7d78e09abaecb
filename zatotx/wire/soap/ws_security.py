"""WS-Security: the header with UsernameTokens, read and written (OASIS SOAP Message Security 1.1, UsernameToken Profile
1.0 and 1.1).

What is read is found by its place: a Security header among those of the one Header of the envelope, a token among the
children of that one. Anywhere else it is data. Nothing is passed over that could change what a message means: who does
not know an element of the header may not act upon the rest.
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
from zatotx.wire.soap.envelope import Element, Version
from zatotx.wire.xml.parser import PlainElement, text_of
from zatotx.wire.xml.writer import attribute, is_representable

__all__ = [
    'FAILED',
    'SECURITY',
    'Malformed',
    'SecurityHeader',
    'Timestamp',
    'UsernameToken',
    'password_digest',
    'read',
    'write',
]

_OASIS = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-'
WSSE = f'{_OASIS}wssecurity-secext-1.0.xsd'
WSU = f'{_OASIS}wssecurity-utility-1.0.xsd'
TEXT = f'{_OASIS}username-token-profile-1.0#PasswordText'
DIGEST = f'{_OASIS}username-token-profile-1.0#PasswordDigest'
BASE64 = f'{_OASIS}soap-message-security-1.0#Base64Binary'

SECURITY = f'{{{WSSE}}}Security'
FAILED = f'{{{WSSE}}}FailedAuthentication'  # the code of faults (SOAP Message Security §12)
_TOKEN, _STAMP = f'{{{WSSE}}}UsernameToken', f'{{{WSU}}}Timestamp'
_USERNAME, _PASSWORD, _NONCE = f'{{{WSSE}}}Username', f'{{{WSSE}}}Password', f'{{{WSSE}}}Nonce'
_CREATED, _EXPIRES = f'{{{WSU}}}Created', f'{{{WSU}}}Expires'
_OF_TOKEN, _OF_STAMP = frozenset((_USERNAME, _PASSWORD, _NONCE, _CREATED)), frozenset((_CREATED, _EXPIRES))

MOST_TOKENS = 8
_LONGEST_NONCE = 512  # bytes of base64
_LONGEST_TIME = 40  # characters


class UsernameToken(msgspec.Struct, frozen=True):
    """Who somebody says he is, and how he proves it."""

    username: str
    password: str  # or its digest, in base64
    is_digest: bool
    nonce: bytes = b''  # b'' = none
    created: str = ''  # as sent: it goes into the digest; '' = not said
    created_at: float | None = None  # seconds since 1970

    def __repr__(self) -> str:
        return f'UsernameToken({self.username!r}, created={self.created!r})'


class Timestamp(msgspec.Struct, frozen=True):
    """The life of a message, in seconds since 1970; None = not said."""

    created_at: float | None = None
    expires_at: float | None = None


class SecurityHeader(msgspec.Struct, frozen=True):
    """The Security header that is for us."""

    tokens: tuple[UsernameToken, ...]  # at least one
    timestamp: Timestamp | None = None


def read(headers: Sequence[Element], version: Version) -> SecurityHeader | None:
    """The Security header of a message whose headers these are, None where none is for us. Raises Malformed, which
    never repeats what was sent: several of them, no token, one that is not as the profile says, an element that is not
    known here."""
    ours = [header for header in headers
            if header.tag == SECURITY and header.get(version.actor, '').strip() in version.ours]  # fmt: skip
    if not ours:
        return None
    if len(ours) > 1:
        raise Malformed('there are several Security headers for us')
    with PlainElement(ours[0]):
        return _security(ours[0])


def password_digest(nonce: bytes, created: str, password: bytes) -> bytes:
    """Base64 of SHA-1 over nonce, creation and password (UsernameToken Profile §3.1). SHA-1 is what the profile has; it
    hashes a secret, so that collisions are of no use."""
    return b64encode(sha1(nonce + created.encode('utf-8') + password, usedforsecurity=False).digest())


def write(token: UsernameToken, version: Version) -> bytes:
    """The Security header with this token, to be understood by whoever serves the message. `token.password` is the
    password itself, of which a digest is made where the token says so."""
    password, kind = is_representable(token.password), TEXT
    if token.is_digest:
        password, kind = (
            password_digest(token.nonce, token.created, token.password.encode('utf-8')).decode('ascii'),
            DIGEST,
        )
    pieces = [
        f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:soap="{version.namespace}" soap:mustUnderstand="1">'
        f'<wsse:UsernameToken><wsse:Username>{attribute(is_representable(token.username))}</wsse:Username>'
        f'<wsse:Password Type="{kind}">{attribute(password)}</wsse:Password>'
    ]
    if token.nonce:
        nonce = b64encode(token.nonce).decode('ascii')
        pieces.append(f'<wsse:Nonce EncodingType="{BASE64}">{nonce}</wsse:Nonce>')
    if token.created:
        pieces.append(f'<wsu:Created xmlns:wsu="{WSU}">{attribute(token.created)}</wsu:Created>')
    pieces.append('</wsse:UsernameToken></wsse:Security>')
    return ''.join(pieces).encode('utf-8')


def _security(header: Element) -> SecurityHeader:
    tokens: list[UsernameToken] = []
    stamp: Timestamp | None = None
    for child in _children(header, 'Security'):
        if child.tag == _TOKEN:
            tokens.append(_token(child))
        elif child.tag == _STAMP and stamp is None:
            stamp = _timestamp(child)
        else:
            raise Malformed('the Security header has an element that is not known here, or a second Timestamp')
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise Malformed(f'the Security header has no UsernameToken, or more than {MOST_TOKENS}')
    return SecurityHeader(tuple(tokens), stamp)


def _token(element: Element) -> UsernameToken:
    parts = _parts(element, _OF_TOKEN, 'UsernameToken')
    username, password = parts.get(_USERNAME), parts.get(_PASSWORD)
    if username is None or password is None:
        raise Malformed('the UsernameToken has no Username, or no Password')
    kind = password.get('Type', TEXT)
    if kind not in (TEXT, DIGEST):
        raise Malformed('the Password is of a type that is not known here')
    created = _leaf(parts.get(_CREATED)).strip()
    return UsernameToken(
        _leaf(username),
        _leaf(password),
        kind == DIGEST,
        _nonce(parts.get(_NONCE)),
        created,
        _time(created) if created else None,
    )


def _timestamp(element: Element) -> Timestamp:
    parts = _parts(element, _OF_STAMP, 'Timestamp')
    created, expires = (_leaf(parts.get(name)).strip() for name in (_CREATED, _EXPIRES))
    return Timestamp(_time(created) if created else None, _time(expires) if expires else None)


def _parts(element: Element, known: frozenset[str], where: str) -> dict[str, Element]:
    """The children by tag. Raises Malformed for one that is there twice, or not known."""
    parts: dict[str, Element] = {}
    for child in _children(element, where):
        tag = child.tag
        if tag in parts or tag not in known:
            raise Malformed(f'the {where} has an element that is not known here, or one of them twice')
        parts[tag] = child
    return parts


def _children(element: Element, where: str) -> Iterator[Any]:
    """The elements in an element that has nothing else in it."""
    if element.text and not element.text.isspace():
        raise Malformed(f'the {where} has text of its own')
    for child in element.iterchildren():
        yield child
        if child.tail and not child.tail.isspace():
            raise Malformed(f'the {where} has text of its own')


def _leaf(element: Element | None) -> str:
    """Its text; '' where it is not there. Raises Malformed where it has children: what of it counted then?"""
    if element is None:
        return ''
    if element.getchildren():
        raise Malformed('a part of the Security header has elements in it')
    return text_of(element)


def _nonce(element: Element | None) -> bytes:
    text = ''.join(_leaf(element).split())  # xs:base64Binary may be broken into lines
    if element is None or not text:
        return b''
    if element.get('EncodingType', BASE64) != BASE64 or len(text) > _LONGEST_NONCE:
        raise Malformed('the Nonce is in an encoding that is not known here, or too long')
    try:
        if len(text) % 4:
            raise Error  # strict_mode lets one '=' too many through
        return a2b_base64(text.encode('ascii'), strict_mode=True)
    except (Error, UnicodeEncodeError):
        raise Malformed('the Nonce is no base64') from None


def _time(text: str) -> float:
    """xs:dateTime as seconds since 1970; without a zone it is UTC. Raises Malformed."""
    try:
        if len(text) > _LONGEST_TIME or not text.isascii() or text[10:11] != 'T':
            raise ValueError
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Malformed('a time of the Security header is no xs:dateTime') from None
