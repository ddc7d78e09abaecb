"""What the operation of a SOAP channel is called, and in which namespace its messages are: one answer for channels,
their messages and their WSDL. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

_LAST = re.compile(r'[^/:#?]+(?=[/:#?]*\Z)')  # of a URL, a URN, or a plain name
_NO_NAME = re.compile(r'[^A-Za-z0-9_.-]+')
_RESPONSE = 'Response'
_OF_URI = '-._~:/@!$()*+,;='  # beside letters and digits, what needs no escaping in it


def operation_name(action: str, service: str, operation: str = '') -> str:
    """The channel's own name for it, else the last part of its SOAPAction (`getBalance` of
    `http://bank.example/crm/getBalance`), else that of the service (`getBalance` of `crm.get-balance`)."""
    if operation:
        return operation
    found = _LAST.search(action)
    named = _NO_NAME.sub('_', found[0]).strip('.-') if found else ''
    if not named:
        first, *others = _NO_NAME.sub('_', service.rpartition('.')[2]).split('-')
        named = first + ''.join(other[:1].upper() + other[1:] for other in others)
    return named if named and (named[0].isalpha() or named[0] == '_') else f'_{named}'


def response_name(operation: str) -> str:
    """The element of the answer (Basic Profile 1.1, R2729, which binds rpc; what document-wrapped does too)."""
    return operation + _RESPONSE


def message_namespace(channel: str, service: str, declared: str) -> str:
    """`declared`: that of the service's SimpleIO, by which its input is read; `channel`: what its channel says, for a
    service that declares none; either may be ''."""
    return declared or channel or urn(service)


def urn(name: str) -> str:
    """A namespace for what has none, of any name."""
    return f'urn:{quote(name, safe=_OF_URI)}'
