"""Defines `Service`, the base class of users' services."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from zatotx.interfaces.meters import NullUserMetrics, UserMetrics
from zatotx.model.errors import NotFound
from zatotx.model.job_run import CurrentJob, job_from_headers
from zatotx.model.message import ANONYMOUS, Message, Principal
from zatotx.model.work_message import INVOKE_ASYNC
from zatotx.schema.service_config import DEFAULT_SLOW_THRESHOLD, SERVICE
from zatotx.service.cache import Caches
from zatotx.service.cluster_locks import lock
from zatotx.service.compat.bunch import Bunch
from zatotx.service.hooks import Hooks, JobHooks
from zatotx.service.io.log_format import format_for_log
from zatotx.service.lazy_attribute import lazy_attribute
from zatotx.service.naming import implementation_name, service_name
from zatotx.service.outgoing import Outgoing
from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner
from zatotx.service.request import Request
from zatotx.service.response import Response, make_response
from zatotx.service.service_attributes import Channel, Deadline, ServiceLogger, TimeUtil, wsgi_environ
from zatotx.service.translation import translate

if TYPE_CHECKING:
    from zatotx.service.redis_methods import RedisMethods


def _request(service: Service) -> Request:
    invocation = service._zatotx
    return Request(invocation.message, invocation.payload, invocation.raw_request, invocation)


def _time(service: Service) -> TimeUtil:
    return TimeUtil(service._zatotx.invoker.now, RedisCoroutineRunner(service._zatotx))


def _kvdb(service: Service) -> RedisMethods:
    from zatotx.service.redis_methods import RedisMethods  # with the methods of redis-py, which few services use

    return RedisMethods(service)


def _patterns(service: Service) -> Any:
    return service._zatotx.invoker.create_patterns(service._zatotx)


def _transport(message: Message) -> str:
    if message.http is None:
        return ''
    return 'plain_http' if message.channel.soap is None else 'soap'


def _slow_threshold(service: Service) -> int:
    """Return the configured threshold of the service in milliseconds, or the default."""
    config = getattr(service._zatotx.invoker.node, 'config', None)
    row = None if config is None else config.snapshot.find('service', service._zatotx.entry.name)
    threshold: int = DEFAULT_SLOW_THRESHOLD if row is None else row.value.slow_threshold
    return threshold


class Service(Hooks, JobHooks):
    """Base class of services. Each invocation creates a new instance, and all invocations share the class attributes.

    Write `async def handle(self)` to run on the reactor, or plain `def handle(self)` to run in a thread, where the same
    calls return results instead of awaitables; or `handle_GET`, `handle_POST` … for individual HTTP verbs. Set
    `self.response.payload` to respond.
    """

    # Declarations. `input` and `output` are a name, an element, several of them, or a model; or `SimpleIO`, as in Zato.
    input: ClassVar[Any] = None
    output: ClassVar[Any] = None
    # Mandatory SOAP headers that the service processes, '{namespace}name' each; any other one is rejected.
    soap_understands: ClassVar[str | Iterable[str]] = ()
    _zatotx: Any = None  # the Invocation of this call
    _zatotx_name: ClassVar[str] = ''

    name: lazy_attribute[str] | str = lazy_attribute(
        lambda self: self._zatotx.entry.name, 'The name of the service.'
    )
    cid: lazy_attribute[str] = lazy_attribute(
        lambda self: self._zatotx.message.cid, 'The correlation id of the request.'
    )
    impl_name: lazy_attribute[str] = lazy_attribute(
        lambda self: self.get_impl_name(), 'Module and class, as in the source.'
    )
    logger: lazy_attribute[ServiceLogger] = lazy_attribute(
        lambda self: ServiceLogger(self._zatotx.entry.name, self.cid), 'A logger whose records carry service and cid.'
    )
    request: lazy_attribute[Request] = lazy_attribute(_request, 'The request.')
    response: lazy_attribute[Response] = lazy_attribute(
        lambda self: make_response(self._zatotx.entry.metadata.io.output), 'The response.'
    )
    channel: lazy_attribute[Channel] = lazy_attribute(
        lambda self: Channel.from_spec(self._zatotx.message.channel),
        'The channel of the request, with .type and .name.',
    )
    chan: lazy_attribute[Channel] = lazy_attribute(lambda self: self.channel, "3.x's name of `channel`.")
    principal: lazy_attribute[Principal] = lazy_attribute(
        lambda self: self._zatotx.message.principal or ANONYMOUS, 'The authenticated caller.'
    )
    deadline: lazy_attribute[Deadline] = lazy_attribute(
        lambda self: Deadline(self._zatotx.message.deadline, self._zatotx.invoker.reactor.seconds),
        'The time by which the response must be ready.',
    )
    data_format: lazy_attribute[str] = lazy_attribute(
        lambda self: self.request.data_format, "The channel's data format."
    )
    transport: lazy_attribute[str] = lazy_attribute(
        lambda self: _transport(self._zatotx.message), "Zato's name of the transport."
    )
    patterns: lazy_attribute[Any] = lazy_attribute(
        _patterns, 'Patterns of invocation: parallel, fanout, invoke_retry.'
    )
    in_reply_to: lazy_attribute[str] = lazy_attribute(
        lambda self: self._zatotx.message.headers.get(b'x-zato-in-reply-to', b'').decode(),
        "Callbacks: the cid of the invocation whose result this is; '' otherwise.",
    )
    job_type: lazy_attribute[str] = lazy_attribute(
        lambda self: self._zatotx.job_type or '', "The type of the scheduled job, or ''."
    )
    environ: lazy_attribute[dict[str, Any]] = lazy_attribute(
        lambda self: {} if self._zatotx.environ is None else self._zatotx.environ, 'A dict for any use during the call.'
    )
    wsgi_environ: lazy_attribute[dict[str, Any]] = lazy_attribute(
        lambda self: wsgi_environ(self._zatotx.message), 'The HTTP part of the request as a WSGI environ, as in Zato.'
    )
    server: lazy_attribute[Any] = lazy_attribute(
        lambda self: self._zatotx.invoker.node, 'The node, for services built into zatotx (INode).'
    )
    user_config: lazy_attribute[Bunch] = lazy_attribute(
        lambda self: self._zatotx.invoker.user_config, "The users' INI files: user_config.<file>.<section>.<key>."
    )
    job: lazy_attribute[CurrentJob | None] = lazy_attribute(
        lambda self: job_from_headers(self._zatotx.message.headers) if self._zatotx.job_type is not None else None,
        'The scheduled job that the service runs for: name, job_type, scheduled; None if there is none.',
    )
    schedule: lazy_attribute[Any] = lazy_attribute(
        lambda self: self._zatotx.invoker.create_schedule(self._zatotx),
        'Creates jobs: schedule.onetime(service, after_seconds=5).',
    )
    time: lazy_attribute[TimeUtil] = lazy_attribute(_time, 'Dates as text.')
    out: lazy_attribute[Outgoing] = lazy_attribute(
        Outgoing, 'The outgoing connections: out.<kind>[<name>].<method>(…).'
    )
    outgoing: lazy_attribute[Outgoing] = lazy_attribute(lambda self: self.out, "Zato's older name of `out`.")
    rest: lazy_attribute[Any] = lazy_attribute(lambda self: self.out.rest, "3.x's short name of `out.rest`.")
    kvdb: lazy_attribute[RedisMethods] = lazy_attribute(_kvdb, 'Redis, under redis-py\'s names: kvdb.get(key) …')
    lock = lock
    translate = translate
    cache: lazy_attribute[Caches] = lazy_attribute(Caches, 'Caches shared by the servers: cache.get(key) …')
    metrics: lazy_attribute[UserMetrics] = lazy_attribute(
        lambda self: getattr(self._zatotx.invoker.node, 'user_metrics', None) or NullUserMetrics(),
        "Metrics that the service defines: metrics.incr(name), .gauge(name, value), .timing(name, seconds).",
    )
    usage: lazy_attribute[int] = lazy_attribute(
        lambda self: getattr(self._zatotx.entry.stats, 'calls', 0),
        'The number of completed calls of this service on this node.',
    )

    slow_threshold: lazy_attribute[int] = lazy_attribute(
        _slow_threshold, 'The response time in milliseconds above which a call counts as slow.'
    )

    @classmethod
    def get_name(cls) -> str:
        """Return the name that the service is deployed under, or the one it would be deployed under."""
        return cls.__dict__.get('_zatotx_name') or service_name(cls)

    @classmethod
    def get_impl_name(cls) -> str:
        """Return module and class, as in the source: `crm.GetBalance`."""
        return implementation_name(cls)

    def handle(self) -> Any:
        """Process a request. Subclasses override it, or define handle_GET, handle_POST …"""
        raise NotImplementedError(f'{type(self).__name__} has no handle')

    def invoke(
        self,
        target: str | type[Service],
        payload: Any = '',
        *args: Any,
        timeout: float | None = None,
        as_bunch: bool = False,
        **options: Any,
    ) -> Any:
        """Invoke another service by name or class, with the same cid and deadline, in the same process.

        In `async def` services the result must be awaited; `def` services get it directly. It is the payload that the
        service set, without its response element. The earlier of `timeout` (seconds) and the deadline applies. Zato's
        further arguments (channel, data_format, transport, serialize, raise_timeout …) are accepted, positional ones
        too.

        Raises NotFound and Inactive naming the service, Timeout, and whatever the service raises.
        """
        options.update(zip(('channel', 'data_format', 'transport', 'serialize'), args, strict=False))
        if len(args) > 4:
            as_bunch = bool(args[4])
        return self._zatotx.invoker.invoke_from_service(
            self._zatotx,
            target=target,
            payload=payload,
            timeout=timeout,
            as_bunch=as_bunch,
            raise_timeout=options.pop('raise_timeout', True),
            options=options,
        )

    def invoke_async(
        self,
        target: str | type[Service],
        payload: Any = '',
        channel: str = INVOKE_ASYNC,
        data_format: str | None = None,
        transport: str | None = None,
        expiration: float | None = None,
        to_json_string: bool = False,
        cid: str | None = None,
        callback: Any = None,
        *,
        order_key: str = '',
        **options: Any,
    ) -> Any:
        """Invoke another service without waiting for it, and return the cid. In `async def` services the result must be
        awaited; `def` services get it directly.

        The message is in the cluster's work stream when the call returns. The service runs at least once, on any
        server, or on one that matches `target` in `name@target`; a run that fails is repeated, and after five attempts
        the message is a dead letter. `expiration`: seconds after which it does not run any more; without it, a message
        never expires. `callback`: services that receive the result, 'self' for this one; without it, the service
        `<name>-async-callback` where it exists. Messages with the same `order_key` run one after another.

        Raises NotFound for an unknown service or server, BadRequest for a payload that cannot be stored, and
        ServiceUnavailable or Timeout if Redis is unavailable.
        """
        return self._zatotx.invoker.invoke_async_from_service(
            self._zatotx, target=target, payload=payload, channel=channel, data_format=data_format,
            expiration=expiration, to_json_string=to_json_string, cid=cid, callback=callback, order_key=order_key,
            options=options,
        )  # fmt: skip

    def invoke_by_impl_name(self, impl: str, *args: Any, **options: Any) -> Any:
        """Invoke a service by module and class: `crm.GetBalance`."""
        names = (entry.name for entry in self._zatotx.services if implementation_name(entry.cls) == impl)
        return self.invoke(next(names, impl), *args, **options)

    def invoke_by_id(self, service_id: int | str, *args: Any, **options: Any) -> Any:
        """Invoke a service by its id in the ODB, which `zato.service.get-list` shows. Raises NotFound."""
        stored = self._zatotx.invoker.node.config.snapshot.get(int(service_id))
        if stored is None or stored.type != SERVICE.key:
            raise NotFound(self.cid, f'No service has the id {service_id}')
        return self.invoke(stored.name, *args, **options)

    def log_input(self, user_msg: str = '', level: int = logging.INFO, suppress_keys: Iterable[str] = ()) -> None:
        """Log the input of the service. Secrets are masked, by their type or name."""
        if self.logger.isEnabledFor(level):
            self.logger.log(level, '%s input: %s', user_msg, format_for_log(self, 'input', suppress_keys))

    def log_output(self, user_msg: str = '', level: int = logging.INFO, suppress_keys: Iterable[str] = ()) -> None:
        """Log the output of the service. Secrets are masked, by their type or name."""
        if self.logger.isEnabledFor(level):
            self.logger.log(level, '%s output: %s', user_msg, format_for_log(self, 'output', suppress_keys))

    @property
    def invocation_time(self) -> datetime:
        """The start of the call in UTC, as a datetime without time zone, as in Zato."""
        return datetime.fromtimestamp(self._zatotx.started_at, UTC).replace(tzinfo=None)

    @property
    def handle_return_time(self) -> datetime | None:
        """The end of `handle` in UTC, without time zone; None before. For hooks."""
        returned_at = self._zatotx.returned_at
        return datetime.fromtimestamp(returned_at, UTC).replace(tzinfo=None) if returned_at else None

    @property
    def processing_time(self) -> int | None:
        """The duration of `handle` and its hooks in milliseconds; None before it ended."""
        invocation = self._zatotx
        return round((invocation.returned_at - invocation.started_at) * 1000) if invocation.returned_at else None
