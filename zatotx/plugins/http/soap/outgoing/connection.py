"""One outgoing SOAP connection: sends messages, and knows the operations of its peer once somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define
from attrs import field as attribute
from twisted.internet.defer import Deferred

from zatotx.interfaces.outgoing import ICall
from zatotx.model.errors import BadGateway
from zatotx.model.soap import PeerFault
from zatotx.plugins.http.rest.connection import OutgoingConnection
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.envelopes import SoapCall, SoapRequest, SoapRequestForm
from zatotx.plugins.http.soap.outgoing.response_parsing import SoapResponse, read_response
from zatotx.plugins.http.soap.outgoing.wsdl_cache import WsdlCache
from zatotx.plugins.http.soap.outgoing.wsdl_loader import WsdlLoader
from zatotx.wire.xml import parser

_MOST_SAID = 500  # characters of a fault that the log has


@define(eq=False)
class SoapConnection(OutgoingConnection):
    """A Connection whose requests are messages, and whose answers are read as such."""

    config: SoapOutgoing = attribute(kw_only=True)
    contracts: WsdlCache = attribute(init=False)
    _held: int = 0  # how many calls are there, or to come
    _retired: bool = False

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        documents = WsdlLoader(self.parts, self.config)
        self.contracts = WsdlCache(documents, self.config, self.reactor, self.form.offload, self.parts.title)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While it is entered, the connection is in use, though a message may be in the making only."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._retired:
                self._leave()

    def retire(self) -> None:
        """See Connection."""
        super().retire()
        self._retired = True
        self._leave()

    def findings(self) -> Iterator[str]:
        """See Connection."""
        yield from super().findings()
        if self.contracts.trouble:
            yield (f'{self.parts.title} has no usable WSDL: {self.contracts.trouble}: see what the peer tells, or give '
                   'it as wsdl')

    def end(self) -> Deferred[None]:
        """See Connection."""
        self.contracts.stop()
        return super().end()

    def _leave(self) -> None:
        if not self._held:
            self.contracts.stop()

    async def exchange(self, message: SoapCall, call: ICall) -> SoapResponse:
        """Send a message and read its answer. Raises what `perform` and `read_answer` do, and ValueError and TypeError
        for what cannot be sent."""
        with self.held():
            request = await self._request(message, call)
            http = await self.perform(request)
        try:
            return read_response(http, request.ready.version, one_way=request.one_way)
        except (BadGateway, PeerFault) as fault:
            self.parts.meter.failed(type(fault).__name__)
            if isinstance(fault, PeerFault):
                self._tell(fault)
            raise

    def _tell(self, fault: PeerFault) -> None:
        """What the peer says is for the log: the service's caller does not get it."""
        self._log.info('{cid}: {title} answered with a fault: {code} {string!r}', cid=fault.cid,
                       title=self.parts.title, code=fault.code or ' '.join(fault.subcodes),
                       string=fault.string[:_MOST_SAID])

    async def _request(self, message: SoapCall, call: ICall) -> SoapRequest:
        form = self.form
        assert isinstance(form, SoapRequestForm)
        data: Any = message.data
        if isinstance(data, str | bytes) and len(data) > parser.LARGE:  # it is looked at before it goes out
            request: SoapRequest = await form.offload(form.request, message, call)
            return request
        return form.request(message, call)
