"""`self.out.soap['Bank'].client`: operations of a WSDL."""

from __future__ import annotations

import datetime as dt
import gc
import weakref
from decimal import Decimal
from typing import Any

from lxml import etree
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from trial_tests.support.calling import CID, Asking, all_of, started, stored
from trial_tests.support.soap import envelope
from trial_tests.support.soap_calling import (
    TITLE,
    TYPES_XSD,
    WithSoap,
    answer,
    bank,
    importing,
    pages,
    sent,
    tokens,
    wsdl,
    wss,
)
from zatotx import BadGateway, BadStatus, PeerFault, ServiceUnavailable, Timeout
from zatotx.plugins.http.soap.outgoing.operation_calls import _subtract_values
from zatotx.plugins.http.soap.outgoing.wsdl_cache import WsdlCache
from zatotx.plugins.http.soap.outgoing.wsdl_loader import WsdlDocuments
from zatotx.plugins.http.test.upstream_servers import Answering, Peer, Request, Upstream, says, silent
from zatotx.schema.snapshot import Snapshot
from zatotx.security.apikey import ApiKey
from zatotx.wire.soap.envelope import SOAP_12

OUT = ('<GetBalanceResponse xmlns="urn:bank"><balance>10.50</balance><on>2026-01-31</on>'
       '<owner><name>Ann</name></owner></GetBalanceResponse>')
AT = b'/bank?wsdl'


class Calling(WithSoap):
    def peer(self, found: Any = None, otherwise: Answering | None = None) -> Upstream:
        """A peer with a WSDL at its address, or with these documents."""
        return self.listen(pages({AT: wsdl()} if found is None else found, otherwise or answer(OUT)))

    def posted(self, upstream: Upstream) -> list[Request]:
        return [request for request in upstream.requests if request.method == b'POST']

    def got(self, upstream: Upstream) -> list[bytes]:
        """The documents that were fetched."""
        return [request.target for request in upstream.requests if request.method == b'GET']


class OperationTests(Calling):
    async def test_a_call(self) -> None:
        """Values go by the schema's types and come back as Python's own; the action is the operation's. The message
        goes to the connection's address, whatever the WSDL says."""
        peer = self.peer()
        got = await self.bank(peer).client.GetBalance(account_id=7, owner={'name': 'Žo', 'born': dt.date(2000, 2, 3)},
                                                      tag=['a', 'b'])
        self.assertEqual((got.balance, got.on, got.owner.name), (Decimal('10.50'), dt.date(2026, 1, 31), 'Ann'))
        (request,) = self.posted(peer)
        self.assertEqual((request.target, request.headers[b'soapaction']), (b'/bank', b'"urn:bank/GetBalance"'))
        payload = sent(request).payload
        self.assertEqual((payload.tag, payload.account_id), ('{urn:bank}GetBalance', 7))
        self.assertEqual((payload.owner.name, payload.owner.born), ('Žo', '2000-02-03'))
        self.assertEqual([one.text for one in payload.findall('{urn:bank}tag')], ['a', 'b'])
        self.assertEqual(self.got(peer), [AT])
        for field in (b'x-zato-cid', b'x-zato-deadline-ms'):
            self.assertIn(field, request.headers)

    async def test_version_2(self) -> None:
        """The port of the connection's version is chosen."""
        peer = self.peer(otherwise=answer(OUT, SOAP_12))
        got = await self.bank(peer, soap_version='1.2').client.GetBalance(7)
        self.assertEqual(got.balance, Decimal('10.50'))
        self.assertIs(sent(self.posted(peer)[0]).version, SOAP_12)
        self.assertIn(b'action="urn:bank/GetBalance"', self.posted(peer)[0].headers[b'content-type'])

    async def test_with_a_token(self) -> None:
        """A new one for each call."""
        peer = self.peer()
        client = self.bank(peer, wss(password_type='digest'), security='bank.wss').client
        await client.GetBalance(1)
        await client.GetBalance(2)
        first, second = (tokens(request)[0].nonce for request in self.posted(peer))
        self.assertNotEqual(first, second)

    async def test_one_way(self) -> None:
        """An operation without output gives None, whatever good answer there is."""
        for answering in (says(b'202 Accepted'), says(b'200 OK'), says(b'200 OK', b'hi', b'Content-Type: text/plain')):
            self.assertIsNone(await self.bank(self.peer(otherwise=answering)).client.Tell(what='news'))

    async def test_faults(self) -> None:
        """Are the same as of messages that one writes oneself."""
        fault = '<s:Fault><faultcode>s:Client</faultcode><faultstring>No money</faultstring></s:Fault>'
        client = self.bank(self.peer(otherwise=answer(fault, status=b'500 Oh'))).client
        told = await self.fault(client.GetBalance(1), PeerFault)
        self.assertEqual((told.code, told.string), ('Sender', 'No money'))
        client = self.bank(self.peer(otherwise=says(b'503 Busy'))).client
        await self.fault(client.GetBalance(1), BadStatus)

    async def test_forms(self) -> None:
        """By attribute, by name, through `service` as suds and zeep have it, with Zato's `with conn.client()`; fields
        of HTTP and another timeout."""
        peer = self.peer()
        soap = self.bank(peer)
        with soap.conn.client() as client:
            for operation in (client.GetBalance, client['GetBalance'], client.service.GetBalance,
                              client.service['GetBalance'], client.using(headers={'X-Own': '1'}, timeout=3).GetBalance):
                self.assertEqual((await operation(7)).balance, Decimal('10.50'))
        last = self.posted(peer)[-1].headers
        self.assertEqual(last[b'x-own'], b'1')
        self.assertTrue(int(last[b'x-zato-deadline-ms']) <= 3000)
        self.assertFalse(hasattr(client, '__deepcopy__'))

    async def test_types(self) -> None:
        """Made by name, with a prefix of the WSDL or the namespace, and empty ones as suds makes them."""
        peer = self.peer()
        client = self.bank(peer).client
        customer = await client.type('{urn:bank}Customer')
        await client.GetBalance(1, owner=customer(name='Bob'))
        empty = await client.factory.create('ns0:Customer')
        empty.name = 'Eve'
        await client.GetBalance(1, owner=empty)
        self.assertEqual([sent(request).payload.owner.name for request in self.posted(peer)], ['Bob', 'Eve'])
        missing = await self.fault(client.type('{urn:bank}Nothing'), ValueError)
        self.assertTrue(str(missing).startswith(f'{TITLE}: there is no type {{urn:bank}}Nothing'), missing)

    async def test_soap_headers(self) -> None:
        """As zeep takes them."""
        peer = self.peer()
        await self.bank(peer, wss(), security='bank.wss').client.GetBalance(1, _soapheaders=[etree.Element('{urn:h}h')])
        self.assertEqual([one.tag for one in sent(self.posted(peer)[0]).headers][1:], ['{urn:h}h'])

    async def test_misuse(self) -> None:
        """What an operation does not take, and one that is not there, are told before anything is sent."""
        peer = self.peer()
        client = self.bank(peer).client
        for calling, why in (
            (client.Nothing(1), 'there is no operation Nothing: there are GetBalance, Tell'),
            (client.GetBalance(), 'GetBalance cannot be called so: Missing element account_id'),
            (client.GetBalance(account_id=1, other=2), 'GetBalance cannot be called so: '),
        ):
            wrong = await self.fault(calling, ValueError)
            self.assertTrue(str(wrong).startswith(f'{TITLE}: {why}'), wrong)
        self.assertEqual(self.posted(peer), [])

    async def test_answers_that_do_not_fit(self) -> None:
        """Are of no use, which is told without the peer's words."""
        secret = '<GetBalanceResponse xmlns="urn:bank"><secret/></GetBalanceResponse>'
        for inside in ('<Other xmlns="urn:bank"/>', secret, ''):
            client = self.bank(self.peer(otherwise=answer(inside))).client
            fault = await self.fault(client.GetBalance(1), BadGateway)
            self.assertEqual(str(fault), f'{TITLE} gave no usable answer: it is not what its WSDL says')

    async def test_hostile_answers(self) -> None:
        """Entities and the like are refused before zeep sees them."""
        body = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + envelope('<a>&x;</a>')
        client = self.bank(self.peer(otherwise=says(b'200 OK', body, b'Content-Type: text/xml'))).client
        fault = await self.fault(client.GetBalance(1), BadGateway)
        self.assertIn('gave no usable answer: it is not XML: ', str(fault))

    async def test_answers_in_other_encodings(self) -> None:
        """As the Content-Type or the document says."""
        text = envelope(OUT.replace('Ann', 'Ž')).decode()
        declared = f'<?xml version="1.0" encoding="utf-16"?>{text}'.encode('utf-16')
        latin = envelope(OUT.replace('Ann', 'é')).decode().encode('iso-8859-1')
        for body, charset, name in ((declared, b'utf-16', 'Ž'), (latin, b'iso-8859-1', 'é')):
            answering = says(b'200 OK', body, b'Content-Type: text/xml; charset=' + charset)
            got = await self.bank(self.peer(otherwise=answering)).client.GetBalance(1)
            self.assertEqual(got.owner.name, name)

    async def test_types_that_answers_name(self) -> None:
        """A record of a type that is made of the declared one has the fields of that."""
        more = ('<xsd:complexType name="Firm"><xsd:complexContent><xsd:extension base="t:Customer"><xsd:sequence>'
                '<xsd:element name="number" type="xsd:int"/></xsd:sequence></xsd:extension></xsd:complexContent>'
                '</xsd:complexType><xsd:element name="GetBalance">')
        found = {AT: wsdl(TYPES_XSD.replace('<xsd:element name="GetBalance">', more))}
        firm = ('<owner xmlns:b="urn:bank" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="b:Firm">'
                '<name>Ann</name><number>5</number></owner>')
        out = OUT.replace('<owner><name>Ann</name></owner>', firm)
        got = await self.bank(self.peer(found, answer(out))).client.GetBalance(1)
        self.assertEqual((got.owner.name, got.owner.number), ('Ann', 5))

    async def test_much_at_once(self) -> None:
        """Large calls and large answers are worked on in threads."""
        peer = self.peer(otherwise=answer(OUT.replace('Ann', 'n' * 100_000)))
        got = await self.bank(peer).client.GetBalance(1, tag=[f't{n}' for n in range(2_000)])
        self.assertEqual((len(got.owner.name), len(sent(self.posted(peer)[0]).payload.findall('{urn:bank}tag'))),
                         (100_000, 2_000))

    def test_how_much_is_much(self) -> None:
        """Values are counted wherever they are, as far as it matters; long texts count more."""
        endless: list[Any] = []
        endless.append(endless)
        for given, counted in ((1, 1), ({'a': [1, {'b': 2}]}, 5), ('x' * 250_000, 3), (list(range(100)), 11),
                               (endless, 11)):
            self.assertEqual(10 - _subtract_values(10, given), counted)


class DocumentTests(Calling):
    async def test_where_it_is(self) -> None:
        """At the peer's address with ?wsdl, also where the path has a query already; at a URL; in the setting."""
        found: Any = (({}, AT), ({'url_path': '/x?a=1'}, b'/x?a=1&wsdl'), ({'url_path': '/x?WSDL'}, b'/x?WSDL'))
        for fields, at in found:
            peer = self.peer({at: wsdl()})
            await self.bank(peer, **fields).client.GetBalance(1)
            self.assertEqual(self.got(peer), [at])
        peer = self.peer({})
        await self.bank(peer, wsdl=wsdl().decode()).client.GetBalance(1)
        self.assertEqual(self.got(peer), [])

    async def test_imports(self) -> None:
        """Documents beside the WSDL, from one another, in a circle; each is fetched once."""
        schema = TYPES_XSD.replace('<xsd:complexType name="Customer">', '<xsd:include schemaLocation="../x/more.xsd"/>'
                                   '<xsd:complexType name="Customer">', 1)
        more = ('<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:bank">'
                '<xsd:include schemaLocation="/w/types.xsd"/></xsd:schema>')
        peer = self.peer({b'/w/bank.wsdl': importing('types.xsd'), b'/w/types.xsd': schema.encode(),
                          b'/x/more.xsd': more.encode()})
        client = self.bank(peer, wsdl=f'http://127.0.0.1:{peer.port}/w/bank.wsdl').client
        self.assertEqual((await client.GetBalance(1)).balance, Decimal('10.50'))
        self.assertEqual(sorted(self.got(peer)), [b'/w/bank.wsdl', b'/w/types.xsd', b'/x/more.xsd'])

    async def test_imports_of_an_own_document(self) -> None:
        """Are looked for beside the peer's address."""
        peer = self.peer({b'/types.xsd': TYPES_XSD.encode()})
        self.assertEqual((await self.bank(peer, wsdl=importing('types.xsd').decode()).client.GetBalance(1)).balance,
                         Decimal('10.50'))

    async def test_other_hosts_are_not_asked(self) -> None:
        """A document cannot send us to places of its choice, nor to files; it is told which one was needed."""
        other = self.peer({b'/types.xsd': TYPES_XSD.encode()})
        for location, name in ((f'http://127.0.0.1:{other.port}/types.xsd', 'types.xsd'),
                               ('file:///etc/passwd', 'passwd'), ('ftp://127.0.0.1/a.xsd', 'a.xsd')):
            fault = await self.fault(self.bank(self.peer({AT: importing(location)})).client.GetBalance(1), BadGateway)
            self.assertEqual(str(fault), f'{TITLE} gave no usable WSDL: it needs {name}, which is not on the host of '
                                         'the WSDL: give one document with all in it as wsdl')
        self.assertEqual(other.requests, [])

    async def test_too_many(self) -> None:
        """A WSDL that never ends is given up."""

        def endless(peer: Peer, request: Request) -> None:
            number = len(peer.factory.requests)
            include = f'<xsd:include schemaLocation="/{number}"/><xsd:complexType'
            schema = TYPES_XSD.replace('<xsd:complexType', include, 1)
            found = importing('/1') if request.target == AT else schema.encode()
            says(b'200 OK', found, b'Content-Type: text/xml')(peer, request)

        peer = self.listen(endless)
        fault = await self.fault(self.bank(peer).client.GetBalance(1), BadGateway)
        self.assertIn('it is made of more than 200 documents', str(fault))
        self.assertEqual(len(peer.requests), 200)

    async def test_who_we_are(self) -> None:
        """Is told to the peer, whose WSDL may be behind a login; not to another host that has it."""
        key = stored(ApiKey(name='key', header='X-Key', password='k'), 'apikey')
        peer = self.peer()
        await self.bank(peer, key, security='key').client.GetBalance(1)
        self.assertEqual(peer.requests[0].headers[b'x-key'], b'k')
        other = self.peer({b'/w': wsdl()})
        await self.bank(peer, key, security='key', wsdl=f'http://127.0.0.1:{other.port}/w').client.GetBalance(1)
        self.assertNotIn(b'x-key', other.requests[0].headers)

    async def test_broken_ones(self) -> None:
        """The error names the connection, the document, and the line."""
        unknown = wsdl().replace(b'type="xsd:decimal"', b'type="t:Odd"')
        line = unknown.count(b'\n', 0, unknown.index(b'"t:Odd"')) + 1
        for found, why in (
            ({AT: wsdl()[:-20]}, 'bank?wsdl is not XML that is accepted here: '),
            ({AT: b'<!DOCTYPE a [<!ENTITY x "y">]>' + wsdl()[38:]}, 'bank?wsdl is not XML that is accepted here: '),
            ({AT: b''}, 'bank?wsdl is not XML that is accepted here: '),
            ({AT: unknown}, f'(bank?wsdl, line {line})'),
            ({AT: b'<html/>'}, 'it has no port of SOAP 1.1: there are none of SOAP'),
            ({AT: importing('types.xsd')}, 'the peer answers 404 where types.xsd should be'),
            ({AT: importing('t.xsd'), b'/t.xsd': b'<x'}, 't.xsd is not XML that is accepted here: '),
            ({}, 'the peer answers 404 where bank?wsdl should be'),
        ):
            fault = await self.fault(self.bank(self.peer(found)).client.GetBalance(1), BadGateway)
            self.assertTrue(str(fault).startswith(f'{TITLE} gave no usable WSDL: '), fault)
            self.assertIn(why, str(fault))
            self.assertNotIn('127.0.0.1', str(fault))

    async def test_an_operation_that_refers_to_nothing(self) -> None:
        """Is told with its line when it is called; others work."""
        found = wsdl().replace(b'element="t:GetBalanceResponse"', b'element="t:Odd"')
        client = self.bank(self.peer({AT: found}, says(b'202 Accepted'))).client
        line = found.count(b'\n', 0, found.index(b'<operation name="GetBalance">')) + 1
        wrong = await self.fault(client.GetBalance(1), ValueError)
        self.assertEqual(str(wrong), f'{TITLE}: the operation GetBalance is incomplete (bank?wsdl, line {line})')
        self.assertIsNone(await client.Tell('x'))
        self.flushWarnings()

    async def test_ports(self) -> None:
        """By name; one that is not there, or speaks the other version, is told with those that are."""
        peer = self.peer()
        await self.bank(peer, wsdl_service='Bank', wsdl_port='Old').client.GetBalance(1)
        other: Any = {'wsdl_service': 'Other', 'wsdl_port': 'Old'}
        new: Any = {'wsdl_port': 'New'}
        for fields, wanted in ((new, 'New'), (other, 'Other.Old')):
            fault = await self.fault(self.bank(peer, **fields).client.GetBalance(1), BadGateway)
            self.assertEqual(str(fault), f'{TITLE} gave no usable WSDL: it has no {wanted} of SOAP 1.1: there are '
                                         'Bank.Old (SOAP 1.1), Bank.New (SOAP 1.2)')

    async def test_peer_away(self) -> None:
        """As of any call: nobody there, and nothing within its time, the WSDL included."""
        fault = await self.fault(self.bank(1).client.GetBalance(1), ServiceUnavailable)
        self.assertEqual(str(fault), f'{TITLE} cannot be used: nobody is at its address')
        peer = self.listen(silent)
        fault = await self.fault(self.bank(peer, timeout=0.3).client.GetBalance(1), Timeout)
        self.assertEqual(str(fault), f'{TITLE} gave no answer within 0.3 s')
        fault = await self.fault(self.bank(peer).client.using(timeout=0.2).GetBalance(1), Timeout)
        self.assertEqual((str(fault), fault.cid), (f'{TITLE} gave no answer within 0.2 s', CID))


class LifeTests(Calling):
    async def test_read_once(self) -> None:
        """For all who ask at once, and for all calls after."""
        peer = self.peer()
        client = self.bank(peer).client
        await all_of(*(client.GetBalance(n) for n in range(5)))
        await client.GetBalance(9)
        self.assertEqual((self.got(peer), len(self.posted(peer))), ([AT], 6))

    async def test_a_failure_is_not_kept(self) -> None:
        """The next call tries again; each who waited is told with his own cid."""
        found: dict[bytes, bytes] = {}
        peer = self.peer(found)
        node = self.node(stored(bank(peer), 'outgoing_soap'))
        calls = [node.namespaces['soap'](Asking(cid=cid))['Bank'].client.GetBalance(1) for cid in ('a' * 24, 'b' * 24)]
        faults = [await self.fault(one, BadGateway) for one in calls]
        self.assertEqual([fault.cid for fault in faults], ['a' * 24, 'b' * 24])
        (finding,) = node.findings()
        self.assertTrue(finding.startswith(f'{TITLE} has no usable WSDL: the peer answers 404'), finding)
        found[AT] = wsdl()
        self.assertEqual(
            (await node.namespaces['soap'](Asking())['Bank'].client.GetBalance(1)).balance, Decimal('10.50')
        )
        self.assertEqual(list(node.findings()), [])

    async def test_another_configuration(self) -> None:
        """Reads it anew; calls that wait for the old one are served by it to their end."""
        first, second = self.peer(), self.peer()
        node = self.node(stored(bank(first), 'outgoing_soap'))
        old: Any = node.registries['outgoing_soap'].find('Bank', CID)
        calling = started(node.namespaces['soap'](Asking())['Bank'].client.GetBalance(1))
        node.apply(Snapshot(2, [stored(bank(second), 'outgoing_soap')]))
        self.assertEqual((await calling).balance, Decimal('10.50'))
        await node.namespaces['soap'](Asking())['Bank'].client.GetBalance(1)
        self.assertEqual((self.got(first), self.got(second)), ([AT], [AT]))
        self.assertIsNot(node.registries['outgoing_soap'].find('Bank', CID), old)
        await self.until(lambda: not first.peers)
        contract = weakref.ref(old.wsdl_cache.client)
        del old
        gc.collect()
        self.assertIsNone(contract())

    async def test_given_up(self) -> None:
        """Who gives up waiting takes the WSDL from nobody else."""
        peer = self.peer()
        client = self.bank(peer).client
        one, other = started(client.GetBalance(1)), started(client.GetBalance(2))
        one.addErrback(lambda failure: None)
        one.cancel()
        self.assertEqual((await other).balance, Decimal('10.50'))
        self.assertEqual(len(self.posted(peer)), 1)


class Documents:
    """Those of a test: each time the next of what it has."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked = 0

    async def load(self) -> WsdlDocuments:
        self.asked += 1
        one = self.given.pop(0)
        if isinstance(one, Exception):
            raise one
        return WsdlDocuments('http://bank.example/x', {'http://bank.example/x': one})


class RefreshTests(WithSoap):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def contracts(self, documents: Any, **fields: Any) -> WsdlCache:
        def offload(function: Any, *args: Any) -> Deferred[Any]:
            made: Deferred[Any] = Deferred()
            made.callback(function(*args))
            return made

        return WsdlCache(documents, bank(1, **fields), self.clock, offload, TITLE)

    async def test_in_time(self) -> None:
        """After wsdl_refresh the old one is still given while the new one is read; a new one that is of no use leaves
        the old, and is tried again."""
        documents = Documents(wsdl(), wsdl(), ValueError('away'), wsdl())
        contracts = self.contracts(documents, wsdl_refresh=100)
        first = await contracts.get(CID, 1)
        self.clock.advance(99)
        self.assertIs(await contracts.get(CID, 1), first)
        self.assertEqual(documents.asked, 1)
        self.clock.advance(1)
        self.assertIs(await contracts.get(CID, 1), contracts.client)
        second = await contracts.get(CID, 1)
        self.assertEqual((documents.asked, second is first), (2, False))
        self.clock.advance(100)
        self.assertIs(await contracts.get(CID, 1), second)
        self.assertEqual(documents.asked, 3)
        self.clock.advance(59)
        self.assertIs(await contracts.get(CID, 1), second)
        self.assertEqual(documents.asked, 3)
        self.clock.advance(1)
        self.assertIsNot(await contracts.get(CID, 1), None)
        self.assertEqual(documents.asked, 4)

    async def test_never(self) -> None:
        """Unless wsdl_refresh says so."""
        documents = Documents(wsdl())
        contracts = self.contracts(documents)
        first = await contracts.get(CID, 1)
        self.clock.advance(10_000_000)
        self.assertIs(await contracts.get(CID, 1), first)
