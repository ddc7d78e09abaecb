"""Maps SOAP channels to WSDL: their operations and the schemas of their messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field, frozen

from zatotx.model.errors import Conflict
from zatotx.rules.http.soap_names import message_namespace, operation_name, response_name
from zatotx.service.io.service_io import ServiceIO
from zatotx.service.io.xsd_types import XsdTypes
from zatotx.service.service_entry import ServiceEntry
from zatotx.wire.soap.action import unquote_action
from zatotx.wire.soap.wsdl import DOCUMENT, RPC, WsdlOperation
from zatotx.wire.xml.writer import is_name
from zatotx.wire.xml.xsd import STRING, AnyType, Enumeration, NamedType, XsdElement, XsdScalar, XsdSchema, XsdType
from zatotx.wire.xml.xsd import XsdSequence as Elements

_RPC = 'Rpc'  # suffix of the names of types with unqualified elements


@frozen
class WsdlChannel:
    """An active SOAP channel (plugins.http.schema.SoapChannel) and its service."""

    channel: Any
    entry: ServiceEntry
    doc: str


@define
class _Namespace:
    """The types and elements of one namespace, qualified or unqualified."""

    namespace: str
    qualified: bool
    types: XsdTypes
    elements: dict[str, tuple[XsdElement, str]] = field(factory=dict)  # element and the channel that defines it

    def element(self, name: str, type_: XsdType, channel: str) -> None:
        """Define an element of a message. Raises Conflict if another channel defines a different one of that name."""
        new = XsdElement(name, type_)
        existing, other_channel = self.elements.setdefault(name, (new, channel))
        if existing != new:
            raise Conflict(
                None, f'SOAP channels {other_channel!r} and {channel!r} have different elements called {name!r} '
                      f'in the namespace {self.namespace!r}: give one another namespace, or its SimpleIO another '
                      'response_elem'
            )  # fmt: skip

    def schema(self) -> XsdSchema:
        return XsdSchema(namespace=self.namespace, types=self.types.named, qualified=self.qualified,
                      elements=tuple(element for element, _ in self.elements.values()))


class WsdlBuilder:
    """Collects the operations of one URL."""

    def __init__(self) -> None:
        self.operations: list[WsdlOperation] = []
        self._namespaces: dict[tuple[str, bool], _Namespace] = {}

    def add_channel(self, offered: WsdlChannel) -> None:
        """Add the operation of a channel. Raises Conflict."""
        channel, entry = offered.channel, offered.entry
        io: ServiceIO = entry.metadata.io
        action = unquote_action(channel.soap_action)
        name = operation_name(action, entry.name, channel.operation)
        rpc = channel.style == RPC
        response_namespace = message_namespace(channel.namespace, entry.name, io.namespace)
        request_namespace = response_namespace if rpc or not io.namespace else io.namespace
        request, response = io.request_elem or name, '' if channel.one_way else io.element or response_name(name)
        request_types = self._namespace(request_namespace, rpc)
        response_types = self._namespace(response_namespace, rpc)
        input_type = AnyType() if io.input is None else request_types.types.input_type(io.input)
        output_type = AnyType() if io.output is None else response_types.types.output_type(io.output)
        operation = WsdlOperation(
            name=self._unused_name(name), action=action, namespace=response_namespace, doc=offered.doc,
            style=channel.style,
            request_element=request, request_namespace=request_namespace, response_element=response,
            input_parts=_message_parts(input_type, name, request_types.types) if rpc else (),
            output_parts=_message_parts(output_type, name, response_types.types) if rpc else (),
        )  # fmt: skip
        if channel.style == DOCUMENT:
            request_types.element(request, input_type, channel.name)
            if response:
                response_types.element(response, output_type, channel.name)
        self.operations.append(operation)

    def schemas(self) -> Sequence[XsdSchema]:
        """Return the schemas of all messages."""
        return [namespace.schema() for namespace in self._namespaces.values()]

    def _namespace(self, namespace: str, rpc: bool) -> _Namespace:
        key = namespace, not rpc
        if key not in self._namespaces:
            self._namespaces[key] = _Namespace(*key, XsdTypes(_RPC if rpc else ''))
        return self._namespaces[key]

    def _unused_name(self, proposed: str) -> str:
        used = {operation.name for operation in self.operations}
        name, number = proposed, 1
        while name in used:
            number += 1
            name = f'{proposed}{number}'
        return name


def _message_parts(message_type: XsdType, operation: str, types: XsdTypes) -> tuple[XsdElement, ...]:
    """Return the parts of an RPC message, each with a named type."""
    resolved = types.named[message_type.name] if isinstance(message_type, NamedType) else message_type
    elements: Iterable[XsdElement] = resolved.elements if isinstance(resolved, Elements) else ()
    return tuple(
        XsdElement(element.name, _named_type(element, operation, types))
        for element in elements
        if is_name(element.name)
    )


def _named_type(part: XsdElement, operation: str, types: XsdTypes) -> XsdType:
    if isinstance(part.type, Elements):
        return types.define_type(f'{operation}_{part.name}', part.type)
    if isinstance(part.type, Enumeration):
        return STRING
    return XsdScalar('anyType') if isinstance(part.type, AnyType) else part.type
