"""The SOAP attributes of services: `self.request.soap`, `self.response.soap` and `soap_understands`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zatotx.model.message import Message
from zatotx.model.soap_message import MustUnderstandFault, SoapMessage
from zatotx.wire.xml.parser import local_name

WS_SECURITY = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd'
SECURITY_HEADER = f'{{{WS_SECURITY}}}Security'
WSS = 'wss'  # kind of a principal that was authenticated by wsse:Security
_NONE = SoapMessage('', '', (), (), None)


class SoapRequest:
    """The SOAP attributes of a request. They are empty if the request did not arrive on a SOAP channel."""

    __slots__ = ('_message',)

    def __init__(self, message: Message) -> None:
        self._message: SoapMessage = message.soap or _NONE

    @property
    def version(self) -> str:
        """'1.1' or '1.2'; '' for other requests."""
        return self._message.version

    @property
    def action(self) -> str:
        """The SOAPAction of the request."""
        return self._message.action

    @property
    def headers(self) -> list[Any]:
        """The children of the Header as lxml elements, in order."""
        return list(self._message.headers)

    @property
    def body(self) -> Any:
        """The Body with all its children as an lxml element; None for other requests."""
        return self._message.body

    def header(self, name: str) -> Any:
        """Return the first header named `{namespace}name`, or `name` in any namespace; None if there is none."""
        by_tag = name.startswith('{')
        return next(
            (element for element in self._message.headers if (element.tag if by_tag else local_name(element)) == name),
            None,
        )


class SoapResponse:
    """The SOAP attributes of the response."""

    def __init__(self) -> None:
        self.headers: list[Any] = []  # lxml elements, or XML

    def add_header(self, header: Any) -> None:
        """Add a header to the response: an lxml element, or XML as text."""
        self.headers.append(header)


def parse_understood_headers(value: Any) -> tuple[str, ...]:
    """Return the header names in the attribute `soap_understands`, which contains one name or several names. Raises
    TypeError."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str) or not name.strip('{}'):
            raise TypeError(f'soap_understands: {name!r} is no name of a header: write "{{namespace}}name"')
    return names


def check_mandatory_headers(message: Message, understood_headers: tuple[str, ...]) -> None:
    """Raise MustUnderstandFault if the service does not understand a mandatory header of the message (SOAP 1.1, section
    4.2.3).

    Headers are processed by the service, and wsse:Security by the authenticator if it authenticated the caller.
    """
    envelope = message.soap
    if envelope is None or not envelope.must_understand:
        return
    understood = {*understood_headers}
    if message.principal is not None and message.principal.kind == WSS:
        understood.add(SECURITY_HEADER)
    missing = [
        element.tag
        for element in envelope.must_understand
        if element.tag not in understood and local_name(element) not in understood
    ]
    if missing:
        raise MustUnderstandFault(missing, message.cid)
