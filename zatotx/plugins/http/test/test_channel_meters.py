"""Channel meters: each request starts once and ends once, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.meters import IChannelMeter
from zatotx.plugins.http.channel import HTTPChannel
from zatotx.plugins.http.server.route_table import build_table
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange, Server, channel, get, post, run_now
from zatotx.schema.snapshot import Snapshot


@implementer(IChannelMeter)
class Meter:
    """A meter that records its calls."""

    def __init__(self) -> None:
        self.requests = 0
        self.ended: list[int] = []
        self.seconds: list[float] = []

    def observe_response(self, status_class: int, seconds: float) -> None:
        self.ended.append(status_class)
        self.seconds.append(seconds)


async def broken() -> AsyncIterator[bytes]:
    yield b'one'
    raise ZeroDivisionError


async def whole() -> AsyncIterator[bytes]:
    yield b'one'


class MeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.meters: dict[str, Meter] = {}
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, max_body=100)
        self.server.site.router.routes = build_table([channel()], make_meter=self.meter)[0]
        self.client = self.server.connect()

    def meter(self, name: str) -> Meter:
        return self.meters.setdefault(name, Meter())

    @property
    def echo(self) -> Meter:
        return self.meters['echo']

    def test_answered(self) -> None:
        """Responses are counted by class, with their duration."""
        self.client.ask(get())
        self.client.send(get(method='HEAD') + get())
        self.exchange.at_once = None
        self.client.send(post())
        self.assertEqual((self.echo.requests, self.echo.ended), (4, [2, 2, 2]))
        self.server.clock.advance(1.5)
        self.exchange.delivered[-1].answer(status=503)
        self.assertEqual((self.echo.requests, self.echo.ended, self.echo.seconds[-1]), (4, [2, 2, 2, 5], 1.5))

    def test_refused(self) -> None:
        """Requests rejected by head or body count for their channel; those without a channel for none."""
        self.client.ask(get('/echo', 'Expect: nonsense'))
        self.server.connect().ask(get('/nowhere'))
        other = self.server.connect()
        other.send(b'POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n')
        other.send(b'c8\r\n' + b'x' * 200 + b'\r\n')
        self.assertEqual((self.echo.requests, self.echo.ended), (2, [4, 4]))

    def test_clients_that_leave(self) -> None:
        """Requests whose client disconnected are counted as such, pipelined ones too."""
        self.exchange.at_once = None
        self.client.send(get() + get() + get())
        self.client.wire.abortConnection()
        self.assertEqual((self.echo.requests, self.echo.ended), (3, [0, 0, 0]))

    def test_streams(self) -> None:
        """A stream ends when it completes or fails."""
        self.exchange.at_once = None
        for source in (whole(), broken()):
            client = self.server.connect()
            client.send(get())
            self.exchange.delivered[-1].answer(stream=source)
            self.server.wait(1)
        self.assertEqual((self.echo.requests, self.echo.ended), (2, [2, 2]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_last_of_a_connection(self) -> None:
        """After the connection's last response no request starts, so none stays in progress."""
        self.client.send(get('/echo', 'Connection: close') + get() + get())
        self.assertTrue(self.client.closed)
        self.assertEqual(self.echo.requests, len(self.echo.ended))

    def test_timeouts(self) -> None:
        """A body timeout ends in a response."""
        self.client.send(b'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nab')
        self.server.wait(120)
        self.assertEqual((self.echo.requests, self.echo.ended), (1, [4]))


class KeptTests(SynchronousTestCase):
    def test_a_new_table(self) -> None:
        """A new configuration drops the meters of removed channels."""
        asked: list[str] = []
        kept: list[set[str]] = []

        class Meters:
            def get(self, name: str) -> Meter:
                asked.append(name)
                return Meter()

            def retain(self, names: list[str]) -> None:
                kept.append(set(names))

        context = ChannelContext(
            reactor=as_reactor(None), settings={}, line_sink=lambda name: Lines(), work_dir='.', run_in_thread=run_now,
            channel_meters=lambda kind: Meters() if kind == 'http-soap' else None,  # type: ignore[arg-type,return-value]
        )
        http = HTTPChannel(context)
        self.assertIn('zato.ping', asked)
        b = channel(2, name='b', url_path='/b')
        for channels in ([channel(name='a'), b], [b]):
            self.successResultOf(http.apply(Snapshot(1, channels)))
        self.assertEqual([{'a', 'b'} & names for names in kept], [{'a', 'b'}, {'b'}])
        self.assertTrue(all('zato.ping' in names for names in kept))
