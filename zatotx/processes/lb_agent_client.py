"""A client for the load balancer's agent, for processes with a reactor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from OpenSSL.crypto import X509
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates
from twisted.web.client import Agent, HTTPConnectionPool, PartialDownloadError, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.rules.http.tls_errors import describe_handshake_error
from zatotx.wire.certificates import parse_certificates
from zatotx.wire.lb_agent_messages import CONTENT_TYPE, PATH, decode_response, encode_call
from zatotx.wire.malformed import Malformed

TIMEOUT = 20.0  # seconds of one call; the agent itself gives up after fifteen


class AgentUnreachableError(Exception):
    """The agent did not return a usable response. The message is one sentence that contains the agent's address."""


class AgentClientFiles(NamedTuple):
    """The TLS files of an agent client, in PEM format. They are read for each call, so that renewed files are used
    without a restart."""

    certificate: Path  # followed by intermediate certificates
    key: Path
    authorities: Path  # that sign the agent's certificate


class LoadBalancerAgentClient:
    """Calls the agent at `host` and `port`. If `files` is None, plain HTTP is used, for an agent without TLS. Each call
    opens a new connection. It fails with AgentCallError if the agent rejects the call, or with AgentUnreachableError
    within `timeout` seconds."""

    def __init__(
        self, reactor: IReactor, host: str, port: int, files: AgentClientFiles | None, timeout: float = TIMEOUT
    ) -> None:
        self._reactor = reactor
        self._files = files
        self._timeout = timeout
        name = f'[{host}]' if ':' in host else host
        self.url = f'{"https" if files else "http"}://{name}:{port}'

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of a call, for example `call('set_server_state', name='server1', state='drain')`."""
        sending = Deferred.fromCoroutine(self._send(name, encode_call(arguments)))
        sending.addTimeout(self._timeout, self._reactor)
        try:
            status, body = await sending
            return decode_response(status, body)
        except TimeoutError:
            raise AgentUnreachableError(
                f'The agent of the load balancer at {self.url} did not respond within {self._timeout:g} s'
            ) from None
        except Malformed as error:
            raise AgentUnreachableError(f'What responds at {self.url} is not an agent: {error}') from None

    async def _send(self, name: str, body: bytes) -> tuple[int, bytes]:
        try:
            policy = _Policy(self._files) if self._files is not None else None
        except (OSError, ValueError) as error:
            raise AgentUnreachableError(f'The client certificate for {self.url} cannot be used: {error}') from None
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        agent = Agent(self._reactor, **({'contextFactory': policy} if policy else {}), pool=pool,
                      connectTimeout=self._timeout)  # fmt: skip
        headers = Headers({'content-type': [CONTENT_TYPE]})
        try:
            response = await agent.request(
                b'POST', f'{self.url}{PATH}{name}'.encode('ascii'), headers, _Body(body)
            )
            return response.code, await readBody(response)
        except CancelledError:
            raise
        except ConnectError as error:
            raise AgentUnreachableError(
                f'The agent of the load balancer at {self.url} is unreachable: {error}'
            ) from None
        except PartialDownloadError:
            raise AgentUnreachableError(f'The agent at {self.url} closed the connection early') from None
        except Exception as error:  # Twisted wraps what has failed in various types
            if any(failure.check(CancelledError) for failure in getattr(error, 'reasons', ())):
                raise CancelledError from None
            raise AgentUnreachableError(f'The agent of the load balancer at {self.url} {_describe(error)}') from None


@implementer(IPolicyForHTTPS)
class _Policy:
    """TLS with a client certificate, which trusts the authorities in a file only."""

    def __init__(self, files: AgentClientFiles) -> None:
        """Raises OSError, or ValueError if a file has other content."""
        try:
            self._own = PrivateCertificate.loadPEM(files.key.read_bytes() + files.certificate.read_bytes())
            self._intermediates = _load_certificates(files.certificate)[1:]
            trusted = [Certificate(each) for each in _load_certificates(files.authorities)]
            self._trusted = trustRootFromCertificates(trusted)
        except OSError:
            raise
        except Exception:
            raise ValueError('a file is not in PEM format, or the key is not that of the certificate') from None

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode('ascii'), trustRoot=self._trusted, clientCertificate=self._own,
            extraCertificateOptions={'extraCertChain': self._intermediates},
        )  # fmt: skip
        return creator


def _load_certificates(path: Path) -> list[X509]:
    return [X509.from_cryptography(each) for each in parse_certificates(path.read_text('ascii'))]


@implementer(IBodyProducer)
class _Body:
    """The body of a request, known as a whole."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Nothing is left to pause: the body was written at once."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


def _describe(error: BaseException) -> str:
    """Return why a request has failed, as a clause that follows the address."""
    causes = [failure.value for failure in getattr(error, 'reasons', ())] or [error]
    reasons: list[str] = []
    for cause in causes:
        entries = cause.args[0] if cause.args and isinstance(cause.args[0], list) else ()
        reasons += [str(entry[2]) for entry in entries if isinstance(entry, tuple) and len(entry) > 2]
    if reasons:
        return describe_handshake_error(reasons)
    return f'did not respond: {str(causes[0]) or type(causes[0]).__name__}'
