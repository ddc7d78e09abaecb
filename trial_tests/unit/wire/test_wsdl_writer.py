"""Tests of generated WSDL and schemas: whole documents, compared element by element."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.soap.wsdl_writer import DOCUMENT, RPC, WsdlDescription, WsdlOperation, write_wsdl
from zatotx.wire.xml.xsd_writer import (
    STRING,
    AnyType,
    Enumeration,
    NamedType,
    XsdElement,
    XsdScalar,
    XsdSchema,
    XsdSequence,
    XsdType,
    to_type_name,
    write_schema,
    xsd_type_reference,
)

XSD = 'http://www.w3.org/2001/XMLSchema'
WSDL, SOAP, SOAP12 = (f'http://schemas.xmlsoap.org/wsdl/{name}' for name in ('', 'soap/', 'soap12/'))
ADDRESS = NamedType('Address')


def outline(element: etree._Element) -> list[object]:
    """Returns an element as [name, attributes, text, children …]."""
    text = [element.text] if element.text and element.text.strip() else []
    attributes = {str(name): value for name, value in element.attrib.items()}
    return [etree.QName(element).localname, attributes, *text, *map(outline, element)]


class SchemaTests(SynchronousTestCase):
    def element(self, type_: XsdType, **fields: bool) -> str:
        """Returns one nested element as it is written."""
        sequence = XsdSequence((XsdElement('a', type_, **fields),))
        text = write_schema(XsdSchema(namespace='urn:a', types={'T': sequence}, elements=()))
        return text.partition('<xsd:sequence>')[2].rpartition('</xsd:sequence>')[0]

    def test_a_schema(self) -> None:
        """Named types are sorted, elements keep their order and have no occurrences of their own."""
        schema = XsdSchema(namespace='urn:a&b', types={
            'B': XsdSequence(()), 'A': XsdSequence((XsdElement('x', STRING), XsdElement('no name', STRING)))},
            elements=(XsdElement('z', ADDRESS, required=False), XsdElement('y', STRING, nillable=True)))  # fmt: skip
        self.assertEqual(write_schema(schema), (
            f'<xsd:schema xmlns:xsd="{XSD}" xmlns:tns="urn:a&amp;b" targetNamespace="urn:a&amp;b" '
            'elementFormDefault="qualified">'
            '<xsd:complexType name="A"><xsd:sequence><xsd:element name="x" type="xsd:string"/></xsd:sequence>'
            '</xsd:complexType><xsd:complexType name="B"><xsd:sequence></xsd:sequence></xsd:complexType>'
            '<xsd:element name="z" type="tns:Address"/><xsd:element name="y" type="xsd:string" nillable="true"/>'
            '</xsd:schema>'
        ))
        plain = XsdSchema(namespace='urn:a', types={}, elements=(), qualified=False)
        self.assertIn('elementFormDefault="unqualified"', write_schema(plain))

    def test_occurrences(self) -> None:
        """Optional and repeated elements may be missing; nullable ones say so."""
        for fields, expected in (
            ({}, ''), ({'required': False}, ' minOccurs="0"'), ({'nillable': True}, ' nillable="true"'),
            ({'is_repeated': True}, ' minOccurs="0" maxOccurs="unbounded"'),
            ({'is_repeated': True, 'required': False, 'nillable': True},
             ' minOccurs="0" maxOccurs="unbounded" nillable="true"'),
        ):  # fmt: skip
            self.assertEqual(self.element(XsdScalar('long'), **fields),
                             f'<xsd:element name="a" type="xsd:long"{expected}/>')  # fmt: skip

    def test_types(self) -> None:
        """Anonymous types are written inline."""
        for type_, inside in (
            (Enumeration(('a', '<b>')), '<xsd:simpleType><xsd:restriction base="xsd:string">'
             '<xsd:enumeration value="a"/><xsd:enumeration value="&lt;b&gt;"/></xsd:restriction></xsd:simpleType>'),
            (AnyType(), '<xsd:complexType><xsd:sequence><xsd:any minOccurs="0" maxOccurs="unbounded" '
             'processContents="lax"/></xsd:sequence></xsd:complexType>'),
            (XsdSequence((XsdElement('b', ADDRESS),)), '<xsd:complexType><xsd:sequence><xsd:element name="b" '
             'type="tns:Address"/></xsd:sequence></xsd:complexType>'),
            (XsdSequence(()), '<xsd:complexType><xsd:sequence></xsd:sequence></xsd:complexType>'),
        ):  # fmt: skip
            self.assertEqual(self.element(type_), f'<xsd:element name="a">{inside}</xsd:element>')
        self.assertEqual([xsd_type_reference(type_) for type_ in (STRING, ADDRESS, AnyType())],
                         ['xsd:string', 'tns:Address', ''])  # fmt: skip

    def test_names(self) -> None:
        """Names of types are valid names."""
        for text, name in (('A-b.c_1', 'A-b.c_1'), ('a b/c', 'a_b_c'), ('1a', '_1a'), ('_a', '_a'), ('', '_'),
                           ('-a', '_-a'), ('\u00e9', '_')):  # fmt: skip
            self.assertEqual(to_type_name(text), name)


class WsdlTests(SynchronousTestCase):
    maxDiff = None
    document = WsdlOperation(
        name='get&',
        action='urn:get',
        namespace='urn:a',
        request_namespace='urn:b',
        doc='Gets <it>\0',
        request_element='getRequest',
        response_element='getResponse',
    )
    one_way = WsdlOperation(name='put', action='', namespace='urn:a', request_element='put')
    rpc = WsdlOperation(name='add', action='urn:add', namespace='urn:a', style=RPC, response_element='addResponse',
                        input_parts=(XsdElement('x', STRING), XsdElement('y', ADDRESS)),
                        output_parts=(XsdElement('sum', XsdScalar('long')),))  # fmt: skip

    def written(self, *operations: WsdlOperation, versions: tuple[str, ...] = ('1.1', '1.2')) -> etree._Element:
        schemas = [XsdSchema(namespace=name, types={}, elements=()) for name in ('urn:a', 'urn:b', 'urn:a')]
        return etree.fromstring(write_wsdl(WsdlDescription(
            name='Svc', namespace='urn:wsdl', url='http://h/?a&b', versions=versions, operations=operations,
            schemas=schemas)))  # fmt: skip

    def test_document(self) -> None:
        """A document of both versions has one port type, and a binding and a port for each version."""
        root = self.written(self.document, self.one_way)
        self.assertEqual((root.tag, root.get('name'), root.get('targetNamespace')),
                         (f'{{{WSDL}}}definitions', 'Svc', 'urn:wsdl'))  # fmt: skip
        self.assertEqual(root.nsmap, {None: WSDL, 'xsd': XSD, 'here': 'urn:wsdl', 'soap': SOAP, 'soap12': SOAP12,
                                      'n0': 'urn:a', 'n1': 'urn:b'})  # fmt: skip
        types, *others = root
        self.assertEqual([each.get('targetNamespace') for each in types], ['urn:a', 'urn:b', 'urn:a'])

        def binding(number: str) -> list[object]:
            body = ['body', {'use': 'literal'}]
            return ['binding', {'name': f'SvcSoap{number}', 'type': 'here:SvcPortType'},
                    ['binding', {'style': 'document', 'transport': 'http://schemas.xmlsoap.org/soap/http'}],
                    ['operation', {'name': 'get&'}, ['operation', {'soapAction': 'urn:get', 'style': 'document'}],
                     ['input', {}, body], ['output', {}, body]],
                    ['operation', {'name': 'put'}, ['operation', {'soapAction': '', 'style': 'document'}],
                     ['input', {}, body]]]  # fmt: skip

        self.assertEqual([outline(each) for each in others], [
            ['message', {'name': 'get&Request'}, ['part', {'name': 'parameters', 'element': 'n1:getRequest'}]],
            ['message', {'name': 'get&Response'}, ['part', {'name': 'parameters', 'element': 'n0:getResponse'}]],
            ['message', {'name': 'putRequest'}, ['part', {'name': 'parameters', 'element': 'n0:put'}]],
            ['portType', {'name': 'SvcPortType'},
             ['operation', {'name': 'get&'}, ['documentation', {}, 'Gets <it>\ufffd'],
              ['input', {'message': 'here:get&Request'}], ['output', {'message': 'here:get&Response'}]],
             ['operation', {'name': 'put'}, ['input', {'message': 'here:putRequest'}]]],
            binding('11'), binding('12'),
            ['service', {'name': 'Svc'}, *(
                ['port', {'name': f'SvcSoap{number}', 'binding': f'here:SvcSoap{number}'},
                 ['address', {'location': 'http://h/?a&b'}]] for number in ('11', '12'))],
        ])  # fmt: skip
        self.assertEqual([etree.QName(each[0]).namespace for each in others[4:6]], [SOAP, SOAP12])
        self.assertEqual([etree.QName(each[0]).namespace for each in others[-1]], [SOAP, SOAP12])

    def test_rpc(self) -> None:
        """RPC messages have a part per parameter, and their bodies a namespace. Without other styles the name is
        plain."""
        root = self.written(self.rpc, versions=('1.2',))
        self.assertNotIn('soap', root.nsmap)
        _, request, response, ports, binding, service = map(outline, root)
        self.assertEqual(request, ['message', {'name': 'addRequest'}, ['part', {'name': 'x', 'type': 'xsd:string'}],
                                   ['part', {'name': 'y', 'type': 'n0:Address'}]])  # fmt: skip
        self.assertEqual(response, ['message', {'name': 'addResponse'}, ['part', {'name': 'sum', 'type': 'xsd:long'}]])
        body = ['body', {'use': 'literal', 'namespace': 'urn:a'}]
        self.assertEqual(binding, ['binding', {'name': 'SvcSoap12', 'type': 'here:SvcPortType'},
                                   ['binding', {'style': 'rpc', 'transport': 'http://schemas.xmlsoap.org/soap/http'}],
                                   ['operation', {'name': 'add'},
                                    ['operation', {'soapAction': 'urn:add', 'style': 'rpc'}],
                                    ['input', {}, body], ['output', {}, body]]])  # fmt: skip
        self.assertEqual((ports[1], len(service)), ({'name': 'SvcPortType'}, 3))

    def test_both_styles(self) -> None:
        """With both styles each has its port type, bindings and ports; those of RPC are named so."""
        root = self.written(self.rpc, self.document)
        names = {name: [each.get('name') for each in root.iter(f'{{{WSDL}}}{name}')]
                 for name in ('portType', 'binding', 'port')}  # fmt: skip
        self.assertEqual(names, {
            'portType': ['SvcPortType', 'SvcRpcPortType'],
            'binding': ['SvcSoap11', 'SvcSoap12', 'SvcRpcSoap11', 'SvcRpcSoap12'],
            'port': ['SvcSoap11', 'SvcRpcSoap11', 'SvcSoap12', 'SvcRpcSoap12'],
        })  # fmt: skip
        self.assertEqual((DOCUMENT, RPC), ('document', 'rpc'))
