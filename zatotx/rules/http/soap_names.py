"""Names of SOAP operations and their message namespaces, shared by channels, messages and WSDL. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

_LAST_PART = re.compile(r'[^/:#?]+(?=[/:#?]*\Z)')  # of a URL, a URN, or a plain name
_INVALID_CHARACTERS = re.compile(r'[^A-Za-z0-9_.-]+')
_RESPONSE_SUFFIX = 'Response'
_URI_CHARACTERS = '-._~:/@!$()*+,;='  # characters other than letters and digits that need no escape


def operation_name(action: str, service: str, operation: str = '') -> str:
    """Returns the channel's configured operation, else the last part of its SOAPAction (`getBalance` of
    `http://bank.example/crm/getBalance`), else a name derived from the service (`getBalance` of `crm.get-balance`)."""
    if operation:
        return operation
    last_part = _LAST_PART.search(action)
    name = _INVALID_CHARACTERS.sub('_', last_part[0]).strip('.-') if last_part else ''
    if not name:
        first, *rest = _INVALID_CHARACTERS.sub('_', service.rpartition('.')[2]).split('-')
        name = first + ''.join(other[:1].upper() + other[1:] for other in rest)
    return name if name and (name[0].isalpha() or name[0] == '_') else f'_{name}'


def response_name(operation: str) -> str:
    """Returns the name of the response element (Basic Profile 1.1, R2729 for rpc; document-wrapped uses the same)."""
    return operation + _RESPONSE_SUFFIX


def message_namespace(channel: str, service: str, declared: str) -> str:
    """Returns the namespace of messages. `declared`: that of the service's SimpleIO; `channel`: that of its channel,
    used if the service declares none; either may be ''."""
    return declared or channel or to_urn(service)


def to_urn(name: str) -> str:
    """Returns a URN as the namespace of a service that has none."""
    return f'urn:{quote(name, safe=_URI_CHARACTERS)}'
