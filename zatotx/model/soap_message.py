"""The SOAP-specific attributes of channels and messages, and SOAP fault exceptions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from zatotx.model.errors import ServiceError

# Fault codes of SOAP 1.2, and the names of two of them in SOAP 1.1.
SENDER, RECEIVER, MUST_UNDERSTAND = 'Sender', 'Receiver', 'MustUnderstand'
_SOAP12_CODES = {'Client': SENDER, 'Server': RECEIVER}
_SENDER_CODES = (SENDER, MUST_UNDERSTAND, 'VersionMismatch', 'DataEncodingUnknown')
CODES = (*_SOAP12_CODES, RECEIVER, *_SENDER_CODES)
_URI_CHARACTER = r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URI = re.compile(f'{_URI_CHARACTER}+(?:#{_URI_CHARACTER}*)?')
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_.-]*')


def is_namespace(text: str) -> bool:
    """Return whether the text is a URI that every XML reader accepts as a namespace (characters of RFC 3986 only)."""
    return _URI.fullmatch(text) is not None


def is_qualified_name(text: str) -> bool:
    """Return whether the text has the form `{namespace}name`."""
    namespace, brace, name = text.removeprefix('{').partition('}')
    return text.startswith('{') and bool(brace) and is_namespace(namespace) and _NAME.fullmatch(name) is not None


class SoapChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The SOAP settings of a channel that the pipeline needs."""

    action: str = ''
    version: str = '1.1'  # version of the response if the request does not tell its version
    operation: str = ''
    namespace: str = ''
    rpc: bool = False  # RPC style: unqualified parts of a call instead of document elements
    one_way: bool = False
    fault_status: int = 0  # 0 = the default status of each fault


class SoapMessage(msgspec.Struct, frozen=True):
    """The parts of a SOAP message other than the payload."""

    version: str  # '1.1', '1.2'
    action: str
    headers: tuple[Any, ...]  # lxml elements
    must_understand: tuple[Any, ...]  # headers with mustUnderstand addressed to this node
    body: Any  # lxml element


class SoapFault(ServiceError):
    """A SOAP fault. On channels with other data formats it is reported like any other error.

        raise SoapFault('Client', 'There is not enough money', '<shortage xmlns="urn:bank">10.00</shortage>')

    `code`: 'Client' or 'Sender' for errors of the caller (status 400), 'Server' or 'Receiver' for others (500).
    `detail`: an lxml element, XML, plain text, or a list of these; the caller receives it. `subcodes`: names as
    '{namespace}name', the most general first; SOAP 1.1 has a single code and carries the last of them. Raises
    ValueError for an unknown code and for an invalid subcode.
    """

    def __init__(
        self, code: str = 'Server', string: str = '', detail: Any = None, *, subcodes: Sequence[str] = (),
        actor: str = '', cid: str | None = None,
    ) -> None:  # fmt: skip
        if code not in CODES:
            raise ValueError(f'A SOAP fault has no code {code!r}: use one of {", ".join(CODES)}, and subcodes')
        invalid = [subcode for subcode in subcodes if not is_qualified_name(subcode)]
        if invalid:
            raise ValueError(f'{invalid[0]!r} is no subcode of a SOAP fault: write "{{namespace}}name"')
        super().__init__(cid, string)
        self.string = string
        self.code = _SOAP12_CODES.get(code, code)  # the SOAP 1.2 name
        self.subcodes = tuple(subcodes)
        self.actor = actor
        self.detail = () if detail is None else tuple(detail) if isinstance(detail, list | tuple) else (detail,)
        self.status = 400 if self.code in _SENDER_CODES else 500


class MustUnderstandFault(SoapFault):
    """The SOAP fault for a request with unsupported mandatory headers (mustUnderstand). `tags` holds the names of these
    headers."""

    def __init__(self, tags: Sequence[str], cid: str | None = None) -> None:
        self.tags = tuple(tags)
        super().__init__(MUST_UNDERSTAND, 'Headers that must be understood are not: ' + ', '.join(self.tags), cid=cid)


class PeerFault(SoapFault):
    """A SOAP fault that another system returned. `code` is 'Sender', 'Receiver' or another standard code, or '' for a
    non-standard code, which is then the first element of `subcodes`. `string`, `actor` and `detail` (elements) are the
    other parts of the fault, and `response` is the HTTP response.

    If the service does not catch it, the caller receives 502 and a sentence that names the connection: the fault was
    addressed to the broker, not to its callers.
    """

    def __init__(self, cid: str | None, msg: str, response: Any = None, *, code: str = '', string: str = '',
                 subcodes: Sequence[str] = (), actor: str = '', detail: Sequence[Any] = ()) -> None:  # fmt: skip
        super().__init__('Server', msg, list(detail), subcodes=subcodes, actor=actor, cid=cid)
        self.code, self.string = code, string
        self.response = response
        self.status = 502
