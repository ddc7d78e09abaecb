"""An outgoing SOAP connection, which sends messages and loads the peer's WSDL when the WSDL is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define
from attrs import field as attribute
from twisted.internet.defer import Deferred

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.security_type import OutgoingCredentials
from zatotx.model.errors import BadGateway
from zatotx.model.soap_message import PeerFault
from zatotx.plugins.http.rest.connection_factory import BuildContext, HttpConnectionVariant, make_request_template
from zatotx.plugins.http.rest.outgoing_connection import ConnectionParts, OutgoingConnection
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.envelope_builder import SoapCallSpec, SoapRequest, SoapRequestTemplate
from zatotx.plugins.http.soap.outgoing.response_parsing import (
    SoapResponse,
    counts_for_circuit_breaker,
    parse_soap_response,
)
from zatotx.plugins.http.soap.outgoing.wsdl_cache import WsdlCache
from zatotx.plugins.http.soap.outgoing.wsdl_loader import WsdlLoader
from zatotx.wire.soap.envelope import VERSIONS
from zatotx.wire.soap.soap_action import unquote_action
from zatotx.wire.xml import parser

_MAX_LOGGED = 500  # characters of a fault that are logged
_ACCEPTED = {'1.1': b'text/xml, application/xml', '1.2': b'application/soap+xml, application/xml'}


@define(eq=False)
class SoapConnection(OutgoingConnection):
    """An outgoing connection that sends SOAP messages and parses the responses."""

    config: SoapOutgoing = attribute(kw_only=True)
    wsdl_cache: WsdlCache = attribute(init=False)
    _users: int = 0  # number of calls in progress or in preparation
    _retired: bool = False

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        documents = WsdlLoader(self.parts, self.config)
        self.wsdl_cache = WsdlCache(
            documents, self.config, self.reactor, self.request_template.offload, self.parts.title
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Return a context manager that keeps the connection in use while a message is prepared and sent."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._retired:
                self._stop_if_unused()

    def retire(self) -> None:
        """See OutgoingConnection."""
        super().retire()
        self._retired = True
        self._stop_if_unused()

    def findings(self) -> Iterator[str]:
        """See OutgoingConnection."""
        yield from super().findings()
        if self.wsdl_cache.last_error:
            yield (
                f'{self.parts.title} has no usable WSDL: {self.wsdl_cache.last_error}: see what the peer tells, or '
                'give it as wsdl'
            )

    def end(self) -> Deferred[None]:
        """See OutgoingConnection."""
        self.wsdl_cache.cancel_unused_load()
        return super().end()

    def _stop_if_unused(self) -> None:
        if not self._users:
            self.wsdl_cache.cancel_unused_load()

    async def send_message(self, message: SoapCallSpec, call: IServiceCall) -> SoapResponse:
        """Send a message and return its response. Raises what `perform` and `parse_soap_response` raise, and ValueError
        and TypeError for data that cannot be sent."""
        with self.in_use():
            request = await self._request(message, call)
            http = await self.send(request)
        try:
            return parse_soap_response(http, request.envelope.version, one_way=request.one_way)
        except (BadGateway, PeerFault) as fault:
            self.parts.meter.count_error(type(fault).__name__)
            if isinstance(fault, PeerFault):
                self._log_fault(fault)
            raise

    def _log_fault(self, fault: PeerFault) -> None:
        """Log the peer's fault: the service's caller does not see it."""
        self._log.info('{cid}: {title} answered with a fault: {code} {string!r}', cid=fault.cid,
                       title=self.parts.title, code=fault.code or ' '.join(fault.subcodes),
                       string=fault.string[:_MAX_LOGGED])

    async def _request(self, message: SoapCallSpec, call: IServiceCall) -> SoapRequest:
        form = self.request_template
        assert isinstance(form, SoapRequestTemplate)
        data: Any = message.data
        if isinstance(data, str | bytes) and len(data) > parser.THREAD_THRESHOLD:  # it is parsed before it is sent
            request: SoapRequest = await form.offload(form.build_request, message, call)
            return request
        return form.build_request(message, call)


def _form(value: SoapOutgoing, credentials: OutgoingCredentials, context: BuildContext) -> SoapRequestTemplate:
    return make_request_template(
        SoapRequestTemplate, value, credentials, context, _ACCEPTED[value.soap_version],
        version=VERSIONS[value.soap_version], action=unquote_action(value.soap_action),
        make_token=credentials.make_token,
    )  # fmt: skip


def _connection(parts: ConnectionParts, reactor: IReactor, value: SoapOutgoing) -> SoapConnection:
    return SoapConnection(parts, reactor, config=value)


SOAP = HttpConnectionVariant(make_template=_form, make_connection=_connection, is_failure=counts_for_circuit_breaker)
