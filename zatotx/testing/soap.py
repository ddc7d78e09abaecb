"""Scripted SOAP connections: what real ones have, and how those show what a script answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from attrs import evolve, frozen

from zatotx.model.errors import BadStatus
from zatotx.model.soap import PeerFault
from zatotx.testing.doubles import Response
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.faults import read_fault
from zatotx.wire.xml import parser

SOAP = 'soap'
CLIENT = ('using', 'type', 'service', 'factory')  # of `.client`, beside the operations


@frozen(kw_only=True)
class SoapResponse(Response):
    """What a call of a SOAP connection gives."""

    envelope: Any = None
    soap_headers: tuple[Any, ...] = ()


def read(given: Any, title: str, cid: str) -> Any:
    """A response as a SOAP connection shows it: `data` is an element where it was XML, the content of its Body where it
    was a whole envelope. Raises PeerFault for an envelope with a fault, BadStatus for a status that is none of success.
    """
    if not isinstance(given, Response):
        return given
    data, envelope = _parsed(given._data), None
    if parser.is_element(data) and soap.is_envelope(data):
        envelope = soap.read(data)
        data = envelope.payload
        fault = None if data is None else read_fault(data)
        if fault is not None:
            said = f' ({fault.code})' if fault.code else ''
            raise PeerFault(cid, f'{title} answered with a fault{said}', given, code=fault.code, string=fault.reason,
                            subcodes=fault.subcodes, actor=fault.actor, detail=fault.detail)
    if not 200 <= given.status_code < 300:
        raise BadStatus(cid, f'{title} answered {given.status_code} {given.reason}'.rstrip(), given)
    return SoapResponse(
        status_code=given.status_code, data=data, text=given.text, headers=given.headers, cid=cid, title=title,
        envelope=None if envelope is None else envelope.body.getparent(),
        soap_headers=() if envelope is None else envelope.headers,
    )  # fmt: skip


def _parsed(value: Any) -> Any:
    if parser.is_element(value):
        return parser.own_tree(value)
    if isinstance(value, str):
        value = value.encode('utf-8')
    return parser.parse(value.strip()) if isinstance(value, bytes) and value.lstrip().startswith(b'<') else value


class SoapRecord(dict[str, Any]):
    """A record as zeep shows it: its fields as attributes, and by name."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f'The record has no {name}: it has {", ".join(self) or "nothing"}') from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def to_record(value: Any) -> Any:
    """What an operation gives, of what its script answers: records of dicts."""
    if isinstance(value, Mapping):
        return SoapRecord({name: to_record(one) for name, one in value.items()})
    return [to_record(one) for one in value] if isinstance(value, list) else value


Called = Callable[[str, tuple[Any, ...], Mapping[str, Any]], Any]  # an operation


@frozen
class ClientDouble:
    """`.client` of a SOAP connection: every operation is there and gives what the script says of it. `made(value)`: a
    value as a method gives it, awaitable in an async service."""

    _called: Called
    _made: Callable[[Any], Any]

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith('_'):
            raise AttributeError(operation)
        return self[operation]

    def __getitem__(self, operation: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._called(operation, args, kwargs)

    @property
    def service(self) -> Self:
        """Its operations."""
        return self

    @property
    def factory(self) -> FactoryDouble:
        """Values of its types."""
        return FactoryDouble(self._made)

    def using(self, headers: Mapping[str, Any] | None = None, timeout: float | None = None) -> Self:
        """The same."""
        return evolve(self)

    def type(self, name: str) -> Any:
        """A type, to be called with its fields."""
        return self._made(SoapRecord)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to give back."""


@frozen
class FactoryDouble:
    """`.client.factory`."""

    _made: Callable[[Any], Any]

    def create(self, name: str) -> Any:
        """A record with nothing in it yet."""
        return self._made(SoapRecord())
