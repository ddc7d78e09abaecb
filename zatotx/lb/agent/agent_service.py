"""Starts and configures the load balancer's agent, which runs in the load balancer's process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from zatotx.interfaces.load_balancer import IBalancerControl
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.agent.agent_application import AgentApplication
from zatotx.lb.agent.agent_calls import AgentCalls
from zatotx.lb.agent.client_subject_check import make_subject_check
from zatotx.model.errors import StartError
from zatotx.processes.mutual_tls import MutualTlsFactory, MutualTlsFiles, MutualTlsServerContext

LOOPBACK = ('127.0.0.1', '::1', 'localhost')
BACKLOG = 50


class IAgentSettings(Protocol):
    """The interface of the section [agent] of lb.toml. Paths are relative to the load balancer's directory."""

    @property
    def listen(self) -> str: ...  # HOST:PORT
    @property
    def certificate(self) -> str: ...  # '' = plain HTTP, on a loopback address only
    @property
    def key(self) -> str: ...
    @property
    def ca(self) -> str: ...
    @property
    def crl(self) -> str: ...  # '' = revocations are not checked
    @property
    def verify_fields(self) -> Mapping[str, str]: ...


class AgentService(Service):
    """Listens for connections of clients that administer a load balancer. `control` controls the running load
    balancer."""

    _log = Logger()

    def __init__(
        self, settings: IAgentSettings, directory: Path, control: IBalancerControl, reactor: IReactor
    ) -> None:
        """Raises StartError if the settings, or the files that they name, cannot be used."""
        self._host, self._port_number = split_address(settings.listen)
        self._uses_tls = bool(settings.certificate)
        self._reactor = reactor
        self.port: IListeningPort | None = None
        calls = AgentCalls(control, agent_work_config(settings, directory))
        self._factory: Any = AgentApplication(calls, reactor).make_site(reactor)
        if self._uses_tls:
            context = MutualTlsServerContext(
                agent_tls_files(settings, directory), make_subject_check(settings.verify_fields), self._log
            )
            self._factory = MutualTlsFactory(
                context, self._factory, what='The agent', clock=reactor, log=self._log
            )
        elif self._host not in LOOPBACK:
            raise StartError(
                f'[agent] listen: without TLS the agent may listen on a loopback address only, not on {self._host}; '
                'set certificate, key and ca'
            )

    def startService(self) -> None:
        """Listen. Raises StartError if the address cannot be used."""
        try:
            self.port = self._reactor.listenTCP(self._port_number, self._factory, BACKLOG, _interface(self._host))
        except CannotListenError as error:
            raise StartError(
                f'[agent] listen: {self._host}:{self._port_number} cannot be used: '
                f'{error.socketError.strerror or error.socketError}'
            ) from None
        super().startService()  # type: ignore[no-untyped-call]
        address: Any = self.port.getHost()
        self._log.info('The agent listens on {scheme}://{host}:{port}', scheme='https' if self._uses_tls else 'http',
                       host=self._host, port=address.port)

    def stopService(self) -> Deferred[Any] | None:
        """Stop listening; fires when the socket is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self.port = self.port, None
        return maybeDeferred(port.stopListening) if port is not None else None


def agent_tls_files(settings: IAgentSettings, directory: Path) -> MutualTlsFiles:
    """Return the TLS files of the agent. Raises StartError if a setting is missing."""
    missing = [name for name in ('key', 'ca') if not getattr(settings, name)]
    if missing:
        raise StartError(f'[agent] {", ".join(missing)}: missing beside certificate')
    return MutualTlsFiles(
        certificate=directory / settings.certificate, key=directory / settings.key,
        authorities=directory / settings.ca, revocation_list=directory / settings.crl if settings.crl else None,
    )  # fmt: skip


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT into host and port. Raises StartError."""
    host, _, port = address.rpartition(':')
    if not host or not port.isdecimal() or int(port) > 65535:
        raise StartError(f'[agent] listen: {address!r} is not HOST:PORT, such as 127.0.0.1:20151')
    return host.strip('[]'), int(port)


def _interface(host: str) -> str:
    return '127.0.0.1' if host == 'localhost' else host


def agent_work_config(settings: IAgentSettings, directory: Path) -> dict[str, Any]:
    """Return the agent's settings for the call `get_work_config`. They contain addresses and paths, and no secrets."""
    host, port = split_address(settings.listen)
    return {
        'host': host, 'port': port, 'work_dir': str(directory), 'certfile': settings.certificate,
        'keyfile': settings.key, 'ca_certs': settings.ca, 'crl': settings.crl,
        'verify_fields': dict(settings.verify_fields), 'use_tls': bool(settings.certificate),
    }  # fmt: skip
