"""What a SOAP channel offers, in the words of a WSDL: its operation and the schemas of its messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field, frozen

from zatotx.model.errors import Conflict
from zatotx.rules.http.soap_names import message_namespace, operation_name, response_name
from zatotx.service.entry import ServiceEntry
from zatotx.service.io.description import IO
from zatotx.service.io.xsd_types import XsdTypes
from zatotx.wire.soap.action import unquote
from zatotx.wire.soap.wsdl import DOCUMENT, RPC, WsdlOperation
from zatotx.wire.xml.writer import is_name
from zatotx.wire.xml.xsd import STRING, AnyType, Enumeration, NamedType, XsdElement, XsdScalar, XsdSchema, XsdType
from zatotx.wire.xml.xsd import XsdSequence as Elements

_RPC = 'Rpc'  # ends the names of types whose elements are unqualified


@frozen
class OfferedOperation:
    """An active SOAP channel (plugins.http.schema.SoapChannel) and its service."""

    channel: Any
    entry: ServiceEntry
    doc: str


@define
class _Space:
    """What is told of one namespace, qualified or not."""

    namespace: str
    qualified: bool
    types: XsdTypes
    elements: dict[str, tuple[XsdElement, str]] = field(factory=dict)  # and whose it is

    def element(self, name: str, type_: XsdType, whose: str) -> None:
        """One that messages are made of. Raises Conflict where two channels mean different ones."""
        made = XsdElement(name, type_)
        known, other = self.elements.setdefault(name, (made, whose))
        if known != made:
            raise Conflict(
                None, f'SOAP channels {other!r} and {whose!r} have different elements called {name!r} in the namespace '
                      f'{self.namespace!r}: give one another namespace, or its SimpleIO another response_elem'
            )  # fmt: skip

    def schema(self) -> XsdSchema:
        return XsdSchema(namespace=self.namespace, types=self.types.named, qualified=self.qualified,
                      elements=tuple(element for element, _ in self.elements.values()))


class WsdlOffer:
    """Collects the operations of one URL."""

    def __init__(self) -> None:
        self.operations: list[WsdlOperation] = []
        self._spaces: dict[tuple[str, bool], _Space] = {}

    def add(self, offered: OfferedOperation) -> None:
        """One more channel. Raises Conflict."""
        channel, entry = offered.channel, offered.entry
        io: IO = entry.traits.io
        action = unquote(channel.soap_action)
        called = operation_name(action, entry.name, channel.operation)
        rpc = channel.style == RPC
        answers_in = message_namespace(channel.namespace, entry.name, io.namespace)
        asked_in = answers_in if rpc or not io.namespace else io.namespace
        request, response = io.request_elem or called, '' if channel.one_way else io.element or response_name(called)
        asked, answered = self._space(asked_in, rpc), self._space(answers_in, rpc)
        taken = AnyType() if io.input is None else asked.types.taken(io.input)
        given = AnyType() if io.output is None else answered.types.given(io.output)
        operation = WsdlOperation(
            name=self._free(called), action=action, namespace=answers_in, doc=offered.doc, style=channel.style,
            request=request, request_namespace=asked_in, response=response,
            taken=_parts(taken, called, asked.types) if rpc else (),
            given=_parts(given, called, answered.types) if rpc else (),
        )  # fmt: skip
        if channel.style == DOCUMENT:
            asked.element(request, taken, channel.name)
            if response:
                answered.element(response, given, channel.name)
        self.operations.append(operation)

    def schemas(self) -> Sequence[XsdSchema]:
        """Those of all messages."""
        return [space.schema() for space in self._spaces.values()]

    def _space(self, namespace: str, rpc: bool) -> _Space:
        key = namespace, not rpc
        if key not in self._spaces:
            self._spaces[key] = _Space(*key, XsdTypes(_RPC if rpc else ''))
        return self._spaces[key]

    def _free(self, wanted: str) -> str:
        taken = {operation.name for operation in self.operations}
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f'{wanted}{number}'
        return name


def _parts(whole: XsdType, operation: str, types: XsdTypes) -> tuple[XsdElement, ...]:
    """The parts of a call: each has a type with a name."""
    found = types.named[whole.name] if isinstance(whole, NamedType) else whole
    elements: Iterable[XsdElement] = found.elements if isinstance(found, Elements) else ()
    return tuple(XsdElement(one.name, _named(one, operation, types)) for one in elements if is_name(one.name))


def _named(part: XsdElement, operation: str, types: XsdTypes) -> XsdType:
    if isinstance(part.type, Elements):
        return types.keep(f'{operation}_{part.name}', part.type)
    if isinstance(part.type, Enumeration):
        return STRING
    return XsdScalar('anyType') if isinstance(part.type, AnyType) else part.type
