"""An FTP channel: an FTP server that delivers the files that partners upload to a service."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from time import time
from typing import Any

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.connectors.channels import ChannelParts, make_channel_delivery
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink, InboundDelivery
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.model.message import ChannelSpec, HTTPView, Message, Reply
from zatotx.rules.security.login_throttle import LoginThrottle

from .metrics import KIND, FtpCounters
from .schema.channel_ftp import FtpChannel
from .server.certificate import Certificate
from .server.directory_registry import DirectoryRegistry, SharedDirectory
from .server.file_tree import FAILED, PROCESSED
from .server.login import Login
from .server.server_context import FtpServer
from .server.session import SessionContext
from .server.upload_queue import Settle, UploadQueue, ended
from .server.upload_store import UploadRecord

LOGIN_TIMEOUT = 30.0  # seconds that the check of a password may take


class UploadConsumer:
    """Delivers the uploads of an FTP channel to its service. Implements IUploadConsumer."""

    def __init__(self, value: FtpChannel, parts: ChannelParts, delivery: MessageDelivery) -> None:
        self.title, self.max_in_flight = parts.title, value.max_in_flight
        self.delivery = delivery
        self._parts, self._value = parts, value
        self._reactor: Any = parts.context.reactor
        self._spec = ChannelSpec(name=value.name, kind=KIND, service=value.service, timeout=value.timeout,
                                 data_format='json')  # fmt: skip

    def deliver(self, record: UploadRecord, path: str, settle: Settle) -> None:
        """See IUploadConsumer."""
        self._parts.meter.requests += 1
        began = self._reactor.seconds()
        self.delivery.deliver(InboundDelivery(
            make_message=partial(self._message, record, path), key=record.id,
            ack=partial(self._processed, began, settle), nack=partial(self._failed, began, settle),
        ))  # fmt: skip

    def _message(self, record: UploadRecord, path: str) -> Message:
        body = msgspec.json.encode({
            'name': record.name, 'path': path, 'size': record.size, 'sha256': record.sha256, 'user': record.user,
            'delivery_id': record.id, 'redelivered': record.redelivered,
        })  # fmt: skip
        deadline = self._reactor.seconds() + self._value.timeout
        return Message(new_cid(), self._spec, self._spec.service, {}, body, deadline)

    def _processed(self, began: float, settle: Settle, reply: Reply | None) -> None:
        self._count(2, began)
        settle(PROCESSED)

    def _failed(self, began: float, settle: Settle, reply: Reply | None, *, requeue: bool) -> None:
        self._count(0 if reply is None else reply.status // 100, began)
        settle(None if requeue else FAILED)

    def _count(self, status_class: int, began: float) -> None:
        self._parts.meter.observe_response(status_class, self._reactor.seconds() - began)


class DefinitionLogin:
    """Authenticates FTP users by the security definitions of a channel, in the same way as HTTP Basic authentication
    (see login.Authenticate)."""

    def __init__(self, value: FtpChannel, dispatcher: IDispatcher, reactor: Any) -> None:
        self._dispatcher, self._reactor = dispatcher, reactor
        self._spec = ChannelSpec(name=value.name, kind=KIND, service=value.service, security=value.security,
                                 groups=tuple(value.groups), timeout=LOGIN_TIMEOUT)  # fmt: skip

    def __call__(self, user: str, password: str, address: str) -> Deferred[bool]:
        credentials = b64encode(f'{user}:{password}'.encode('utf-8', 'surrogateescape'))
        headers = {b'authorization': b'Basic ' + credentials}
        http = HTTPView('', b'', '', b'', headers, {}, address)
        deadline = self._reactor.seconds() + LOGIN_TIMEOUT
        message = Message(new_cid(), self._spec, self._spec.service, headers, b'', deadline, http)
        checked: Deferred[bool] = Deferred(lambda _: pending.cancel())
        pending = self._dispatcher.authenticate(message, lambda reply: checked.callback(reply is None))
        return checked


@implementer(IDeadLetterSink)
@frozen
class UploadDeadLetters:
    """Stores dead letters of uploads. Each contains the path of the file in the `failed` directory, so that it can be
    replayed."""

    letters: IDeadLetterSink
    queue: UploadQueue

    def store(self, letter: DeadLetter) -> Deferred[None]:
        """See IDeadLetterSink."""
        return Deferred.fromCoroutine(self._store(letter))

    async def _store(self, letter: DeadLetter) -> None:
        body = letter.message.body
        assert isinstance(body, bytes)
        path = await self.queue.plan_failure(letter.id)
        letter.message.body = msgspec.json.encode({**msgspec.json.decode(body), 'path': path})
        await self.letters.store(letter)


class UploadChannel:
    """Implements InboundChannel for one configured FTP channel."""

    _log = Logger()

    def __init__(self, value: FtpChannel, parts: ChannelParts, directories: DirectoryRegistry,
                 throttle: LoginThrottle, counters: FtpCounters, grace: float) -> None:
        self._value, self._parts, self._directories, self._grace = value, parts, directories, grace
        self._throttle, self._counters = throttle, counters
        self._reactor: Any = parts.context.reactor
        self._server: FtpServer | None = None
        self._directory: SharedDirectory | None = None
        self._consumer: UploadConsumer | None = None

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel. Uploads that were left by a process that died are delivered again."""
        parts = self._parts
        certificate = None if self._value.tls is None else Certificate(self._value.tls)
        if certificate is not None:
            await parts.context.run_in_thread(certificate.load)
        directory = await self._directories.acquire(self._value.directory, self._value.name)
        server = FtpServer(SessionContext(
            certificate=certificate,
            title=parts.title, value=self._value, reactor=self._reactor, run_in_thread=parts.context.run_in_thread,
            login=self._make_login(dispatcher), store=directory.store, now=time,
            counters=self._counters, receive=partial(directory.queue.receive, self._announce),
        ))  # fmt: skip
        try:
            await parts.listeners.acquire(parts.address, server)
        except BaseException:
            await self._directories.release(directory)
            raise
        self._server, self._directory = server, directory
        delivery = make_channel_delivery(parts, dispatcher, self._value)
        if delivery.dead_letters is not None:
            delivery.dead_letters = UploadDeadLetters(delivery.dead_letters, directory.queue)
        self._consumer = UploadConsumer(self._value, parts, delivery)
        directory.queue.attach(self._consumer)

    def _make_login(self, dispatcher: IDispatcher) -> Login:
        value = self._value
        has_definitions = value.security is not None or bool(value.groups)
        authenticate = DefinitionLogin(value, dispatcher, self._reactor) if has_definitions else None
        return Login(value.user, value.password, self._throttle, authenticate)

    def stop(self) -> Deferred[None]:
        """See InboundChannel. Uploads that are not settled stay on the disk."""
        server, self._server = self._server, None
        if server is None:
            return succeed(None)
        self._parts.listeners.release(self._parts.address, server)
        return Deferred.fromCoroutine(self._stop(server))

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        if self._value.user and not self._value.password:
            yield f'{self._parts.title} has no password: nobody can log in'
        if self._server is not None and len(self._server.connections) >= self._value.max_connections:
            yield f'{self._parts.title} has as many clients as max_connections allows'
        if self._directory is not None:
            yield from self._directory.queue.findings()

    async def _stop(self, server: FtpServer) -> None:
        directory, consumer = self._directory, self._consumer
        assert directory is not None and consumer is not None
        directory.queue.detach(consumer)
        timer: IDelayedCall = self._reactor.callLater(self._grace, self._end_grace, server, consumer)
        await server.stop()
        for delivering in tuple(consumer.delivery.pending):
            await ended(delivering)
        if timer.active():
            timer.cancel()
        await self._directories.release(directory)

    def _end_grace(self, server: FtpServer, consumer: UploadConsumer) -> None:
        server.abort()
        consumer.delivery.cancel()

    def _announce(self, record: UploadRecord) -> None:
        self._log.info('{title}: {user} uploaded {name!r}, {size} bytes, delivery {id}', title=self._parts.title,
                       user=record.user, name=record.name, size=record.size, id=record.id)  # fmt: skip
