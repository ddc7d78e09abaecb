"""Parts of mutual TLS that need no connection; trial_tests/integration/test_lb_agent.py has the others."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from zatotx.processes.mutual_tls import (
    LINGER,
    MAX_LINES,
    WINDOW,
    ClientVerifier,
    LingeringTcpTransport,
    RejectedClientLog,
)
from zatotx.testing.log_recorder import LogRecorder


class UnreadableCertificate:
    """A certificate whose bytes cannot be parsed."""

    def to_cryptography(self) -> object:
        raise ValueError('unknown version')


class VerifierTests(SynchronousTestCase):
    def test_unreadable(self) -> None:
        """A certificate that cannot be parsed is refused; the exception does not reach OpenSSL."""
        verifier = ClientVerifier(lambda subject: '')
        certificate: Any = UnreadableCertificate()
        connection: Any = None
        self.assertFalse(verifier.verify(connection, certificate, 0, 0, 1))
        self.assertEqual((verifier.error, verifier.subject), ('its certificate cannot be read', ''))
        self.assertFalse(verifier.verify(connection, certificate, 0, 0, 1))


class RefusalLogTests(SynchronousTestCase):
    def test_limit(self) -> None:
        """Beyond a number of lines in a minute, refused clients are only counted; the next minute begins with how many
        there were."""
        recorder, clock = LogRecorder(), Clock()
        refusals = RejectedClientLog('The agent', Logger(observer=recorder), clock)
        address = IPv4Address('TCP', '10.0.0.1', 4711)
        for _ in range(MAX_LINES + 5):
            refusals.add('refused a client at', address, 'it has no certificate')
        texts = [record.getMessage() for record in recorder.records]
        self.assertEqual(texts, ['The agent refused a client at 10.0.0.1:4711: it has no certificate'] * MAX_LINES)
        clock.advance(WINDOW)
        refusals.add('refused a client at', address, 'it has no certificate')
        self.assertEqual([record.getMessage() for record in recorder.records[MAX_LINES:]],
                         ['The agent refused 5 more clients', texts[0]])  # fmt: skip
        clock.advance(WINDOW)
        refusals.add('refused a client at', address, 'it has no certificate')
        self.assertEqual(len(recorder.records), MAX_LINES + 3)


class Transport:
    """Records what is done to it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def loseWriteConnection(self) -> None:
        self.calls.append('loseWriteConnection')

    def resumeProducing(self) -> None:
        self.calls.append('resumeProducing')

    def abortConnection(self) -> None:
        self.calls.append('abortConnection')


class LingeringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.inner = Transport()
        self.transport = LingeringTcpTransport(self.inner, self.clock)

    def test_two_steps(self) -> None:
        """Writing ends at once and reading goes on; a client that does not close its side is aborted."""
        self.transport.loseConnection()
        self.transport.loseConnection()
        self.assertEqual(self.inner.calls, ['loseWriteConnection', 'resumeProducing'])
        self.clock.advance(LINGER)
        self.assertEqual(self.inner.calls[2:], ['abortConnection'])

    def test_closed(self) -> None:
        """When the client has closed its side, nothing is left to do."""
        self.transport.loseConnection()
        self.transport.closed()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed_first(self) -> None:
        """A connection that is closed already is not closed again."""
        self.transport.closed()
        self.transport.loseConnection()
        self.assertEqual((self.inner.calls, self.clock.getDelayedCalls()), ([], []))

    def test_other_calls(self) -> None:
        """All else goes to the connection."""
        self.transport.abortConnection()
        self.assertEqual(self.inner.calls, ['abortConnection'])
