"""A SOAP connection that a test scripts, and a real one, do the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from lxml import etree
from twisted.internet.task import Clock

from trial_tests.support.calling import CID, Asking
from trial_tests.support.soap import envelope
from trial_tests.support.soap_calling import BALANCE, TITLE, WithSoap, answer, pages, says_xml, wsdl
from zatotx import BadStatus, PeerFault
from zatotx.plugins.http.soap.outgoing.facade import SoapCallOptions, SoapConnectionFacade, SoapConnectionZatoApi
from zatotx.plugins.http.soap.outgoing.operation_calls import SoapClient
from zatotx.plugins.http.soap.outgoing.response_parsing import SoapResponse
from zatotx.plugins.http.test.upstream_servers import Answering, says
from zatotx.plugins.http.testing import SIGNATURES
from zatotx.testing import scripted_soap
from zatotx.testing.scripted_calls import ConnectionScript, Scripts
from zatotx.testing.scripted_connections import OutgoingScripts, ScriptedOutgoing
from zatotx.wire.soap.envelope import SOAP_11

ASK = '<getBalance xmlns="urn:bank"/>'
FAULT = ('<s:Fault><faultcode>s:Client</faultcode><faultstring>No money</faultstring><detail><a>1</a></detail>'
         '</s:Fault>')
OUT = ('<GetBalanceResponse xmlns="urn:bank"><balance>10.50</balance><owner><name>Ann</name></owner>'
       '</GetBalanceResponse>')


def answers(value: Any, **options: Any) -> Callable[[ConnectionScript], object]:
    """A script of one answer."""
    return lambda script: script.answers(value, **options)


def public(kind: type) -> set[str]:
    """What services may use of it."""
    return {name for name in dir(kind) if not name.startswith('_')}


class SameTests(WithSoap):
    def scripted(self, play: Callable[[ConnectionScript], object]) -> Any:
        """`self.out.soap['Bank']` as a test scripts it."""
        scripts = Scripts()
        play(OutgoingScripts(scripts).soap['Bank'])
        return ScriptedOutgoing(scripts, Clock()).namespace('soap', Asking())['Bank']

    def both(self, answering: Answering, play: Callable[[ConnectionScript], object]) -> list[Any]:
        """The real one, and the scripted one."""
        return [self.bank(self.listen(answering)), self.scripted(play)]

    async def test_answers(self) -> None:
        """The content of the Body, and of a whole envelope its headers too."""
        whole = envelope(BALANCE, header='<h xmlns="urn:h">1</h>')
        for given in (whole, whole.decode(), etree.fromstring(whole)):
            seen = []
            for out in self.both(says_xml(whole), answers(given)):
                response = await out.post(ASK)
                seen.append(
                    (
                        response.data.tag,
                        response.data.balance,
                        [one.tag for one in response.soap_headers],
                        response.envelope.tag,
                        response.status_code,
                        response.ok,
                        response.connection_title,
                        response.cid,
                    )
                )
            self.assertEqual(seen[0], seen[1])
            self.assertEqual(seen[0][:4], ('{urn:bank}getBalanceResponse', 10.5, ['{urn:h}h'], SOAP_11.envelope))
        for given in (BALANCE, BALANCE.encode(), etree.fromstring(BALANCE)):
            out = self.scripted(answers(given))
            response = await out.conn.post(CID, ASK)
            self.assertEqual((response.data.balance, response.text), (10.5, BALANCE))

    async def test_errors(self) -> None:
        """Faults, and what HTTP alone refuses."""
        seen = []
        for out in self.both(answer(FAULT, status=b'500 Oh'), answers(envelope(FAULT), status=500)):
            fault = await self.fault(out.post(ASK), PeerFault)
            seen.append((fault.code, fault.string, fault.detail[0].text, fault.details, fault.cid,
                         fault.response.status_code, fault.status))
        self.assertEqual(seen[0], seen[1])
        for out in self.both(says(b'503 Service Unavailable', b'later'), answers('later', status=503)):
            refused = await self.fault(out.post(ASK), BadStatus)
            self.assertEqual((refused.status_code, refused.details, refused.response.text),
                             (503, f'{TITLE} answered 503 Service Unavailable', 'later'))

    async def test_operations(self) -> None:
        """Are scripted by their names; a dict is a record as zeep has it. All forms of a client are there."""
        real = self.bank(self.listen(pages({b'/bank?wsdl': wsdl()}, answer(OUT))))
        given = {'balance': Decimal('10.50'), 'owner': {'name': 'Ann'}}
        scripted = self.scripted(lambda script: script.on('GetBalance', account_id=7).answers(given, times=None))
        for out in (real, scripted):
            with out.conn.client() as client:
                for operation in (client.GetBalance, client['GetBalance'], client.service.GetBalance,
                                  out.client.using(timeout=3).GetBalance):
                    got = await operation(account_id=7)
                    self.assertEqual((got.balance, got['balance'], got.owner.name), (Decimal('10.50'),) * 2 + ('Ann',))
                customer = (await client.type('{urn:bank}Customer'))(name='Bob')
                empty = await client.factory.create('{urn:bank}Customer')
                empty.name = 'Bob'
                self.assertEqual((customer.name, empty.name), ('Bob', 'Bob'))
        failing = self.scripted(lambda script: script.raises(PeerFault(None, 'x', string='No money')))
        self.assertEqual((await self.fault(failing.client.GetBalance(), PeerFault)).string, 'No money')
        self.assertIsNone(await self.scripted(lambda script: script.answers()).client.Tell('x'))

    def test_names(self) -> None:
        """A scripted connection, its responses and its client have nothing that the real ones do not have."""
        signature = SIGNATURES['soap']
        self.assertLessEqual(public(scripted_soap.SoapResponse) - {'of'}, public(SoapResponse))
        self.assertEqual(set(signature.methods), public(SoapConnectionFacade) - {'conn', 'client'})
        self.assertEqual(set(signature.zato_methods), public(SoapConnectionZatoApi))
        self.assertEqual(set(scripted_soap.CLIENT), public(SoapClient))
        self.assertEqual(set(scripted_soap.CLIENT), public(scripted_soap.SoapClientDouble))
        self.assertEqual(set(signature.options), set(SoapCallOptions.__annotations__))
        for method in signature.methods:
            taken = list(inspect.signature(getattr(SoapConnectionFacade, method)).parameters)[1:]
            own = ['action'] if method == 'call' else []
            self.assertEqual(taken, [] if method == 'ping' else [*own, *signature.positional, 'options'], method)
        out = self.scripted(lambda script: script.answers())
        for wrong in (lambda: out.get, lambda: out.conn.get, lambda: out.client.__len__):
            self.assertRaises(AttributeError, wrong)
        for bad in (lambda: out.post(verify=False), lambda: out.post(1, 2, 3, 4), lambda: out.ping(1),
                    lambda: out.conn.post('K', 'x', files=1)):  # fmt: skip
            self.assertRaises(TypeError, bad)
