"""Test doubles of SOAP connections. The module defines the call signature of their operations, and converts scripted
values to responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from attrs import evolve, frozen

from zatotx.model.errors import BadStatus
from zatotx.model.soap_message import PeerFault
from zatotx.testing.connection_results import Response
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.faults import read_fault
from zatotx.wire.xml import parser

SOAP = 'soap'
CLIENT = ('using', 'type', 'service', 'factory')  # attributes of `.client`, besides the operations


@frozen(kw_only=True)
class SoapResponse(Response):
    """The result of a call on a scripted SOAP connection."""

    envelope: Any = None
    soap_headers: tuple[Any, ...] = ()


def read_scripted_response(response: Any, title: str, cid: str) -> Any:
    """Convert a scripted value to the response that a SOAP connection returns.

    `data` is an element if the value is XML, the content of the Body if it is an envelope. Raises PeerFault for an
    envelope with a fault, BadStatus for a status that is not successful.
    """
    if not isinstance(response, Response):
        return response
    data, envelope = _parsed(response._data), None
    if parser.is_element(data) and soap.is_envelope(data):
        envelope = soap.read_envelope(data)
        data = envelope.payload
        fault = None if data is None else read_fault(data)
        if fault is not None:
            code_text = f' ({fault.code})' if fault.code else ''
            raise PeerFault(cid, f'{title} answered with a fault{code_text}', response, code=fault.code,
                            string=fault.reason, subcodes=fault.subcodes, actor=fault.actor, detail=fault.detail)
    if not 200 <= response.status_code < 300:
        raise BadStatus(cid, f'{title} answered {response.status_code} {response.reason}'.rstrip(), response)
    return SoapResponse(
        status_code=response.status_code,
        data=data,
        text=response.text,
        headers=response.headers,
        cid=cid,
        connection_title=title,
        envelope=None if envelope is None else envelope.body.getparent(),
        soap_headers=() if envelope is None else envelope.headers,
    )


def _parsed(value: Any) -> Any:
    if parser.is_element(value):
        return parser.ensure_own_tree(value)
    if isinstance(value, str):
        value = value.encode('utf-8')
    return (
        parser.parse_document(value.strip()) if isinstance(value, bytes) and value.lstrip().startswith(b'<') else value
    )


class SoapRecord(dict[str, Any]):
    """A record like those of zeep, whose fields are accessible both as attributes and as keys."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f'The record has no {name}: it has {", ".join(self) or "nothing"}') from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def to_soap_record(value: Any) -> Any:
    """Convert the scripted result of an operation. Dicts are converted to records."""
    if isinstance(value, Mapping):
        return SoapRecord({name: to_soap_record(item) for name, item in value.items()})
    return [to_soap_record(item) for item in value] if isinstance(value, list) else value


RunOperation = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Any]  # runs an operation


@frozen
class SoapClientDouble:
    """The test double of `.client` of a SOAP connection. It accepts every operation, and follows the script.

    `made` returns a value as a method does, awaitable in `async def` services.
    """

    _called: RunOperation
    _made: Callable[[Any], Any]

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('_'):
            raise AttributeError(operation)
        return self[operation]

    def __getitem__(self, operation: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._called(operation, args, kwargs)

    @property
    def service(self) -> Self:
        """The operations."""
        return self

    @property
    def factory(self) -> SoapFactoryDouble:
        """Create values of the types."""
        return SoapFactoryDouble(self._made)

    def using(self, headers: Mapping[str, Any] | None = None, timeout: float | None = None) -> Self:
        """Return a client with other options, which have no effect here."""
        return evolve(self)

    def type(self, name: str) -> Any:
        """Return a type, which is called with its fields."""
        return self._made(SoapRecord)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, as there are no resources to release."""


@frozen
class SoapFactoryDouble:
    """The test double of `.client.factory` of a SOAP connection."""

    _made: Callable[[Any], Any]

    def create(self, name: str) -> Any:
        """Return an empty record."""
        return self._made(SoapRecord())
