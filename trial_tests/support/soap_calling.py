"""Outgoing SOAP connections without a node, and the WSDLs of their peers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trial_tests.support.calling import Asking, WithConnections, stored
from trial_tests.support.soap import envelope
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.schema import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.facade import SoapConnectionFacade
from zatotx.plugins.http.test.upstream_servers import Answering, Peer, Request, Upstream, says
from zatotx.schema.snapshot import StoredObject
from zatotx.security.wss import Wss
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap import ws_security
from zatotx.wire.soap.envelope import SOAP_11, SoapVersion
from zatotx.wire.xml import parser

TITLE = 'Outgoing connection Bank (soap)'
TYPES = {'1.1': b'Content-Type: text/xml; charset=utf-8', '1.2': b'Content-Type: application/soap+xml; charset=utf-8'}
BALANCE = '<getBalanceResponse xmlns="urn:bank"><balance>10.50</balance></getBalanceResponse>'


def answer(inside: str, version: SoapVersion = SOAP_11, *, status: bytes = b'200 OK', header: str = '') -> Answering:
    """A peer that answers every message so."""
    return says(status, envelope(inside, version, header), TYPES[version.number])


def says_xml(document: bytes) -> Answering:
    """A peer that answers with this document."""
    return says(b'200 OK', document, TYPES['1.1'])


def sent(request: Request) -> Any:
    """The message that a peer was sent."""
    return soap.read_envelope(parser.parse_document(request.body))


def tokens(request: Request) -> list[ws_security.UsernameToken]:
    """Those in a message."""
    message = sent(request)
    security = ws_security.read_security_header(message.headers, message.version)
    return [] if security is None else list(security.tokens)


def wss(**fields: Any) -> StoredObject:
    """The definition bank.wss."""
    return stored(Wss(**{'name': 'bank.wss', 'username': 'bänk', 'password': 'pä<ss', **fields}), 'wss')


class WithSoap(WithConnections):
    """A test with connections to SOAP peers."""

    def bank(self, upstream: Upstream | int, *more: StoredObject, call: IServiceCall | None = None,
             context: Mapping[str, Any] | None = None, **fields: Any) -> SoapConnectionFacade:
        """`self.out.soap['Bank']` of a node whose connection of that name leads to the peer."""
        node = self.node(stored(bank(upstream, **fields), 'outgoing_soap'), *more, **(context or {}))
        made: SoapConnectionFacade = node.namespaces['soap'](call or Asking())['Bank']
        return made

    def slots(self, name: str = 'Bank') -> Any:
        return self.meters.outgoing('soap').get(name)


def bank(upstream: Upstream | int, **fields: Any) -> SoapOutgoing:
    """A connection to a peer, or to a port of this machine."""
    port = upstream if isinstance(upstream, int) else upstream.port
    return SoapOutgoing(**{'name': 'Bank', 'host': f'http://127.0.0.1:{port}', 'url_path': '/bank', 'proxy': 'none',
                           **fields})


def pages(found: Mapping[bytes, bytes], otherwise: Answering) -> Answering:
    """A peer that has documents, by path and query, and answers everything else otherwise. One that is not there is a
    404 of plain text."""

    def give(peer: Peer, request: Request) -> None:
        if request.method != b'GET':
            otherwise(peer, request)
        elif request.target in found:
            says(b'200 OK', found[request.target], b'Content-Type: text/xml')(peer, request)
        else:
            says(b'404 Not Found', b'no', b'Content-Type: text/plain')(peer, request)

    return give


TYPES_XSD = '''<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:bank"
    xmlns:t="urn:bank" elementFormDefault="qualified">
  <xsd:complexType name="Customer"><xsd:sequence>
    <xsd:element name="name" type="xsd:string"/>
    <xsd:element name="born" type="xsd:date" minOccurs="0"/>
  </xsd:sequence></xsd:complexType>
  <xsd:element name="GetBalance"><xsd:complexType><xsd:sequence>
    <xsd:element name="account_id" type="xsd:int"/>
    <xsd:element name="owner" type="t:Customer" minOccurs="0"/>
    <xsd:element name="tag" type="xsd:string" minOccurs="0" maxOccurs="unbounded"/>
  </xsd:sequence></xsd:complexType></xsd:element>
  <xsd:element name="GetBalanceResponse"><xsd:complexType><xsd:sequence>
    <xsd:element name="balance" type="xsd:decimal"/>
    <xsd:element name="on" type="xsd:date" minOccurs="0"/>
    <xsd:element name="owner" type="t:Customer" minOccurs="0"/>
  </xsd:sequence></xsd:complexType></xsd:element>
  <xsd:element name="Tell"><xsd:complexType><xsd:sequence>
    <xsd:element name="what" type="xsd:string"/>
  </xsd:sequence></xsd:complexType></xsd:element>
</xsd:schema>
'''
_BINDING = '''  <binding name="{name}" type="t:Bank">
    <{soap}:binding transport="http://schemas.xmlsoap.org/soap/http" style="document"/>
    <operation name="GetBalance"><{soap}:operation soapAction="urn:bank/GetBalance"/>
      <input><{soap}:body use="literal"/></input><output><{soap}:body use="literal"/></output></operation>
    <operation name="Tell"><{soap}:operation soapAction="urn:bank/Tell"/>
      <input><{soap}:body use="literal"/></input></operation>
  </binding>
'''
_WSDL = '''<?xml version="1.0" encoding="utf-8"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s11="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:s12="http://schemas.xmlsoap.org/wsdl/soap12/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
    xmlns:t="urn:bank" targetNamespace="urn:bank" name="Bank">
  <types>{types}</types>
  <message name="In"><part name="parameters" element="t:GetBalance"/></message>
  <message name="Out"><part name="parameters" element="t:GetBalanceResponse"/></message>
  <message name="Told"><part name="parameters" element="t:Tell"/></message>
  <portType name="Bank">
    <operation name="GetBalance"><input message="t:In"/><output message="t:Out"/></operation>
    <operation name="Tell"><input message="t:Told"/></operation>
  </portType>
{bindings}  <service name="Bank">
    <port name="Old" binding="t:Bank11"><s11:address location="http://nobody.invalid/old"/></port>
    <port name="New" binding="t:Bank12"><s12:address location="http://nobody.invalid/new"/></port>
  </service>
</definitions>
'''


def wsdl(types: str = TYPES_XSD) -> bytes:
    """A WSDL with these types."""
    bindings = _BINDING.format(name='Bank11', soap='s11') + _BINDING.format(name='Bank12', soap='s12')
    return _WSDL.format(types=types, bindings=bindings).encode()


def importing(location: str) -> bytes:
    """The same, whose types are in another document."""
    return wsdl('<xsd:schema targetNamespace="urn:imports"><xsd:import namespace="urn:bank" '
                f'schemaLocation="{location}"/></xsd:schema>')
