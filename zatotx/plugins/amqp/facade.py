"""The AMQP API for services: `self.out.amqp['Audit']`, and Zato's `self.outgoing.amqp.send(message, 'Audit', …)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.amqp.connection import AmqpConnection, new_correlation_id
from zatotx.plugins.amqp.message_builder import SendRequest

_Fields = Mapping[str, Any] | None


class AmqpNamespace:
    """The object `self.out.amqp`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[AmqpConnection], call: IServiceCall) -> None:
        self._registry = registry
        self._call = call

    def __getitem__(self, name: str) -> AmqpFacade:
        """Return the connection of that name. Raises NotFound and Inactive, which name it, and ServiceUnavailable if
        its configuration cannot be used."""
        return AmqpFacade(self._registry.find(name, self._call.cid), self._call)

    def get(self, name: str) -> AmqpFacade:
        """Zato's form of `[name]`."""
        return self[name]

    def send(self, msg: Any, out_name: str, exchange: str | None = None, routing_key: str | None = None,
             properties: _Fields = None, headers: _Fields = None, **options: Any) -> Any:
        """Zato's form: send a message by the connection of that name."""
        return self[out_name].send(msg, exchange, routing_key, properties, headers, **options)


class AmqpFacade:
    """An outgoing AMQP connection, as seen by one service invocation. docs/amqp.md describes the errors of its methods.

    None stands for the connection's default. `properties`: by AMQP's names, e.g. `{'priority': 9}`. `timeout`: seconds.
    """

    __slots__ = ('_call', '_connection')

    def __init__(self, connection: AmqpConnection, call: IServiceCall) -> None:
        self._connection = connection
        self._call = call

    def send(self, msg: Any, exchange: str | None = None, routing_key: str | None = None, properties: _Fields = None,
             headers: _Fields = None, *, mandatory: bool | None = None, timeout: float | None = None) -> Any:
        """Send a message: bytes, text, or anything else as JSON. Gives its message id when the broker has confirmed
        it."""
        request = SendRequest(message=msg, exchange=exchange, routing_key=routing_key, properties=properties,
                              headers=headers, mandatory=mandatory, timeout=timeout)  # fmt: skip
        return self._call.run(partial(self._connection.send, request, self._call))

    def send_many(self, messages: Iterable[Any], exchange: str | None = None, routing_key: str | None = None,
                  properties: _Fields = None, headers: _Fields = None, *, mandatory: bool | None = None,
                  timeout: float | None = None) -> Any:
        """Send messages in this order. Gives their message ids when the broker has confirmed all of them. Raises
        MessagesNotSent, which has the error of each that failed."""
        requests = [SendRequest(message=msg, exchange=exchange, routing_key=routing_key, properties=properties,
                                headers=headers, mandatory=mandatory, timeout=timeout)
                    for msg in messages]  # fmt: skip
        return self._call.run(partial(self._connection.send_many, requests, self._call))

    def call(self, msg: Any, exchange: str | None = None, routing_key: str | None = None, properties: _Fields = None,
             headers: _Fields = None, *, timeout: float | None = None) -> Any:
        """Send a request and give the reply to it, an AmqpReply, which must come within the timeout."""
        request = SendRequest(message=msg, exchange=exchange, routing_key=routing_key, properties=properties,
                              headers=headers, mandatory=True, timeout=timeout,
                              correlation_id=new_correlation_id())  # fmt: skip
        return self._call.run(partial(self._connection.call, request, self._call))

    def ping(self) -> Any:
        """Open an AMQP channel. Gives the time that it took, as text."""
        return self._call.run(partial(self._connection.ping, self._call))
