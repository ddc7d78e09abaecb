"""SOAP from bytes to bytes in memory: the HTTP kind, the exchange and real services, without a port."""

from __future__ import annotations

from typing import Any, cast
from xml.sax.saxutils import quoteattr

from twisted.internet.defer import maybeDeferred
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.pipeline import IAuthenticationPolicy
from zatotx.model.message import Message, Principal
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.plugins.http.schema import RestChannel, SoapChannel
from zatotx.plugins.http.soap.codec import make_codecs
from zatotx.plugins.http.test.server_doubles import Answer, ScriptedExchange, Server, post
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET
from zatotx.rules.security.roles import ADMIN
from zatotx.schema.snapshot import StoredObject
from zatotx.service.invoker import Invoker
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.service_store import ServiceStore
from zatotx.testing.pipeline_doubles import CallCountingStats
from zatotx.wire.soap.envelope import SOAP_11, VERSIONS, Envelope, SoapVersion, read_envelope
from zatotx.wire.soap.faults import FaultElement, read_fault
from zatotx.wire.xml import parser

PATH, ACTION = '/crm', 'getBalance'


def envelope(inside: str, version: SoapVersion = SOAP_11, header: str = '') -> bytes:
    """A message with that content of its Body, and of its Header; `s:` is SOAP's own prefix."""
    head = f'<s:Header>{header}</s:Header>' if header else ''
    return f'<s:Envelope xmlns:s={quoteattr(version.namespace)}>{head}<s:Body>{inside}</s:Body></s:Envelope>'.encode()


class Answered:
    """An answer as a SOAP client reads it."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.body
        self.cid = answer.headers[b'x-zato-cid'].decode()

    @property
    def envelope(self) -> Envelope:
        return read_envelope(parser.parse_document(self.body))

    @property
    def payload(self) -> Any:
        return self.envelope.payload

    @property
    def fault(self) -> FaultElement:
        fault = read_fault(self.payload)
        if fault is None:
            raise AssertionError(f'No fault: {self.status} {self.body!r}')
        return fault

    @property
    def wrong(self) -> list[tuple[str, str]]:
        """The wrong elements that the detail of a fault names, each with what is wrong."""
        error: Any
        (error,) = [one for one in self.fault.detail if getattr(one, 'tag', '') == f'{{{ZATO}}}error']
        return [(one.path.text, one.reason.text) for one in error.iterchildren(f'{{{ZATO}}}wrong')]


ZATO = 'https://zato.io/ns/20130518'


@implementer(IAuthenticationPolicy)
class AdminGuard:
    """Everybody is an administrator."""

    def check(self, message: Message) -> Principal:
        return Principal('admin.invoke', 'admin.invoke', 'basic_auth', roles=frozenset({ADMIN}))

    check_body = check


class SoapSide:
    """A SOAP channel at PATH with ACTION for the first of these services, and whatever else `channels` has."""

    def __init__(self, *services: type, internal: tuple[type, ...] = (), channels: tuple[StoredObject, ...] = (),
                 guard: Any = None, node: Any = None, **channel: Any) -> None:
        entries = [ServiceEntry.for_class(one) for one in services]
        entries += [ServiceEntry.for_class(one, is_internal=True) for one in internal]
        given = {'name': 'crm', 'url_path': PATH, 'soap_action': ACTION, 'service': entries[0].name, **channel}
        stored = StoredObject(1, 'channel_soap', SoapChannel(**given), 1)
        self.server = Server(ScriptedExchange(), channels=[stored, *channels])
        store = ServiceStore(entries, lambda name: CallCountingStats())
        invoker = Invoker(as_reactor(self.server.clock), cast('Any', None), node=node)
        pipeline = Pipeline(
            authentication=guard or AdminGuard(),
            store=store,
            invoker=invoker,
            offload=maybeDeferred,
            codecs=CodecRegistry(DEFAULT_BUDGET, make_codecs(DEFAULT_BUDGET)),
            error_replies=ErrorReplies(),
        )
        self.server.site.dispatcher = Dispatcher(pipeline, self.server.clock)

    def send(self, body: bytes, *headers: str, version: str = '1.1', action: str = ACTION, path: str = PATH
             ) -> Answered:  # fmt: skip
        """POST it under the names of that version. `headers` come beside them."""
        if version == '1.1':
            named = ['Content-Type: text/xml; charset=utf-8', f'SOAPAction: "{action}"']
        else:
            named = [f'Content-Type: application/soap+xml; charset=utf-8; action="{action}"']
        return Answered(self.server.connect().ask(post(path, body, *named, *headers)))

    def ask(self, inside: str, *, version: str = '1.1', header: str = '', **where: str) -> Answered:
        """Send a message with that content of its Body."""
        return self.send(envelope(inside, VERSIONS[version], header), version=version, **where)


def rest(number: int, name: str, url_path: str, service: str, **fields: Any) -> StoredObject:
    """A REST channel beside."""
    return StoredObject(
        number, 'channel_rest', RestChannel(name=name, url_path=url_path, service=service, **fields), number
    )
