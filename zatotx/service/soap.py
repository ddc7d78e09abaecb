"""What services see of SOAP beside the payload: `self.request.soap`, `self.response.soap`, `soap_understands`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zatotx.model.message import Message
from zatotx.model.soap import NotUnderstood, SoapMessage
from zatotx.wire.xml.parser import local_name

WS_SECURITY = 'http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd'
SECURITY = f'{{{WS_SECURITY}}}Security'
WSS = 'wss'  # the kind of a principal that a wsse:Security let in
_NONE = SoapMessage('', '', (), (), None)


class SoapRequest:
    """The envelope around the payload. Empty where no SOAP channel brought the request."""

    __slots__ = ('_message',)

    def __init__(self, inbound: Message) -> None:
        self._message: SoapMessage = getattr(inbound, 'soap', _NONE)

    @property
    def version(self) -> str:
        """'1.1' or '1.2'; '' where it is no SOAP."""
        return self._message.version

    @property
    def action(self) -> str:
        """The SOAPAction that led here."""
        return self._message.action

    @property
    def headers(self) -> list[Any]:
        """The children of the Header, lxml elements, in their order."""
        return list(self._message.headers)

    @property
    def body(self) -> Any:
        """The Body, an lxml element, with all its children; None where it is no SOAP."""
        return self._message.body

    def header(self, name: str) -> Any:
        """The first header of that name, `{namespace}name` or a name in any namespace; None where there is none."""
        by_tag = name.startswith('{')
        return next((one for one in self._message.headers if (one.tag if by_tag else local_name(one)) == name), None)


class SoapResponse:
    """The envelope of the answer."""

    def __init__(self) -> None:
        self.headers: list[Any] = []  # lxml elements, or XML

    def add_header(self, header: Any) -> None:
        """Put a header into the answer: an lxml element, or XML as text."""
        self.headers.append(header)


def declared_headers(value: Any) -> tuple[str, ...]:
    """The names of a `soap_understands`, one or several. Raises TypeError."""
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str) or not name.strip('{}'):
            raise TypeError(f'soap_understands: {name!r} is no name of a header: write "{{namespace}}name"')
    return names


def require_understood(inbound: Message, understands: tuple[str, ...]) -> None:
    """Raises NotUnderstood where the message demands that a header be understood which neither the service does nor
    the guard, which has looked at wsse:Security where that is what let the caller in."""
    message: SoapMessage | None = getattr(inbound, 'soap', None)
    if message is None or not message.demanded:
        return
    known = {*understands}
    if inbound.principal is not None and inbound.principal.kind == WSS:
        known.add(SECURITY)
    missing = [one.tag for one in message.demanded if one.tag not in known and local_name(one) not in known]
    if missing:
        raise NotUnderstood(missing, inbound.cid)
