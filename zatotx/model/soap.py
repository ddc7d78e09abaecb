"""What SOAP adds to messages and faults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from zatotx.model.errors import ServiceError

# Codes of 1.2, and 1.1's words for two of them.
SENDER, RECEIVER, MUST_UNDERSTAND = 'Sender', 'Receiver', 'MustUnderstand'
_WORDS = {'Client': SENDER, 'Server': RECEIVER}
_OF_CALLER = (SENDER, MUST_UNDERSTAND, 'VersionMismatch', 'DataEncodingUnknown')
CODES = (*_WORDS, RECEIVER, *_OF_CALLER)
_OF_URI = r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URI = re.compile(f'{_OF_URI}+(?:#{_OF_URI}*)?')
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_.-]*')


def is_namespace(text: str) -> bool:
    """Whether every reader of XML takes it for a namespace: one without the characters that no URI has (RFC 3986)."""
    return _URI.fullmatch(text) is not None


def is_qualified(text: str) -> bool:
    """Whether it is `{namespace}name`."""
    namespace, brace, name = text.removeprefix('{').partition('}')
    return text.startswith('{') and bool(brace) and is_namespace(namespace) and _NAME.fullmatch(name) is not None


class SoapSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange must know of a SOAP channel."""

    action: str = ''
    version: str = '1.1'  # what a caller is answered in whose message says neither
    operation: str = ''
    namespace: str = ''
    rpc: bool = False  # parts of a call, unqualified, instead of the elements of a document
    one_way: bool = False
    fault_status: int = 0  # 0 = each its own


class SoapMessage(msgspec.Struct, frozen=True):
    """What a SOAP message holds beside its payload."""

    version: str  # '1.1', '1.2'
    action: str
    headers: tuple[Any, ...]  # lxml elements
    demanded: tuple[Any, ...]  # those of them that must be understood here
    body: Any  # lxml element


class SoapFault(ServiceError):
    """A fault in SOAP's own words; on channels of other formats an error like any other.

        raise SoapFault('Client', 'There is not enough money', '<shortage xmlns="urn:bank">10.00</shortage>')

    `code`: whose fault it is, 'Client' or 'Sender' for the caller's (400), 'Server' or 'Receiver' (500). `detail`: an
    lxml element, XML, plain text, or several of them; it reaches the caller. `subcodes`: '{namespace}name', the most
    general first; SOAP 1.1, which has one code only, carries the last of them. Raises ValueError for an unknown
    code, and for a subcode that is no name.
    """

    def __init__(
        self, code: str = 'Server', string: str = '', detail: Any = None, *, subcodes: Sequence[str] = (),
        actor: str = '', cid: str | None = None,
    ) -> None:  # fmt: skip
        if code not in CODES:
            raise ValueError(f'A SOAP fault has no code {code!r}: use one of {", ".join(CODES)}, and subcodes')
        wrong = [subcode for subcode in subcodes if not is_qualified(subcode)]
        if wrong:
            raise ValueError(f'{wrong[0]!r} is no subcode of a SOAP fault: write "{{namespace}}name"')
        super().__init__(cid, string)
        self.string = string
        self.code = _WORDS.get(code, code)  # 1.2's word
        self.subcodes = tuple(subcodes)
        self.actor = actor
        self.detail = () if detail is None else tuple(detail) if isinstance(detail, list | tuple) else (detail,)
        self.status = 400 if self.code in _OF_CALLER else 500


class NotUnderstood(SoapFault):
    """Headers that must be understood, and are not, by their tags."""

    def __init__(self, tags: Sequence[str], cid: str | None = None) -> None:
        self.tags = tuple(tags)
        super().__init__(MUST_UNDERSTAND, 'Headers that must be understood are not: ' + ', '.join(self.tags), cid=cid)


class PeerFault(SoapFault):
    """The fault that another system answered with, in its words: `code` ('Sender', 'Receiver' …; '' where it is one of
    its own, which then is the first of `subcodes`), `string`, `actor`, and `detail`, elements. `response`: its answer.

    A service that does not catch it is answered with 502 and a sentence that names the connection: what the peer says
    was said to us, not to our callers.
    """

    def __init__(self, cid: str | None, msg: str, response: Any = None, *, code: str = '', string: str = '',
                 subcodes: Sequence[str] = (), actor: str = '', detail: Sequence[Any] = ()) -> None:  # fmt: skip
        super().__init__('Server', msg, list(detail), subcodes=subcodes, actor=actor, cid=cid)
        self.code, self.string = code, string
        self.response = response
        self.status = 502
