"""`Service`: what users subclass."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from zatotx.interfaces.meters import NoUserMetrics, UserMetrics
from zatotx.model.message import ANONYMOUS, Message, Principal
from zatotx.schema.service import SLOW
from zatotx.service.compat.bunch import Bunch
from zatotx.service.context import Channel, Deadline, wsgi_environ
from zatotx.service.hooks import Hooks, JobHooks
from zatotx.service.io.log_format import format_for_log
from zatotx.service.lazy_attribute import lazy_attribute
from zatotx.service.logger import ServiceLogger
from zatotx.service.naming import impl_name, service_name
from zatotx.service.outgoing import Outgoing
from zatotx.service.request import Request
from zatotx.service.response import Response
from zatotx.service.timeutil import TimeUtil


def _request(service: Service) -> Request:
    run = service._zatotx
    return Request(run.inbound, run.payload, run.raw, run)


def _time(service: Service) -> TimeUtil:
    return TimeUtil(service._zatotx.invoker.now)


def _transport(inbound: Message) -> str:
    if inbound.http is None:
        return ''
    return 'plain_http' if inbound.channel.soap is None else 'soap'


def _slow_threshold(service: Service) -> int:
    config = getattr(service._zatotx.invoker.node, 'config', None)
    stored = None if config is None else config.snapshot.named('service', service._zatotx.entry.name)
    threshold: int = SLOW if stored is None else stored.value.slow_threshold
    return threshold


class Service(Hooks, JobHooks):
    """One unit of integration logic. A new instance serves each call; what is on the class is shared.

    Write `async def handle(self)` to run on the reactor, plain `def handle(self)` to run in a thread, where the same
    calls give results instead of awaitables; or `handle_GET`, `handle_POST` … for HTTP verbs one by one. Answer by
    setting `self.response.payload`.
    """

    # Declarations. `input` and `output`: a name, an element, several of them, or a model; `SimpleIO` the classic way.
    input: ClassVar[Any] = None
    output: ClassVar[Any] = None
    # SOAP headers it takes care of, '{namespace}name' each: what else a message demands to be understood refuses it.
    soap_understands: ClassVar[str | Iterable[str]] = ()
    _zatotx: Any = None  # the Run of this call
    _zatotx_name: ClassVar[str] = ''

    name: lazy_attribute[str] | str = lazy_attribute(
        lambda self: self._zatotx.entry.name, 'What the service is called.'
    )
    cid: lazy_attribute[str] = lazy_attribute(
        lambda self: self._zatotx.inbound.cid, 'The correlation id of the request.'
    )
    impl_name: lazy_attribute[str] = lazy_attribute(
        lambda self: self.get_impl_name(), 'Module and class, as their author knows them.'
    )
    logger: lazy_attribute[ServiceLogger] = lazy_attribute(
        lambda self: ServiceLogger(self._zatotx.entry.name, self.cid), 'Its records carry service and cid.'
    )
    request: lazy_attribute[Request] = lazy_attribute(_request, 'What was asked.')
    response: lazy_attribute[Response] = lazy_attribute(
        lambda self: Response(self._zatotx.entry.traits.io.output), 'What is answered.'
    )
    channel: lazy_attribute[Channel] = lazy_attribute(
        lambda self: Channel.of(self._zatotx.inbound.channel), 'What brought us here: its kind, with .type and .name.'
    )
    chan: lazy_attribute[Channel] = lazy_attribute(lambda self: self.channel, "3.x's name for `channel`.")
    principal: lazy_attribute[Principal] = lazy_attribute(
        lambda self: self._zatotx.inbound.principal or ANONYMOUS, 'Who is calling.'
    )
    deadline: lazy_attribute[Deadline] = lazy_attribute(
        lambda self: Deadline(self._zatotx.inbound.deadline, self._zatotx.invoker.reactor.seconds),
        'When the answer has to be there.',
    )
    data_format: lazy_attribute[str] = lazy_attribute(
        lambda self: self.request.data_format, "The channel's data format."
    )
    transport: lazy_attribute[str] = lazy_attribute(
        lambda self: _transport(self._zatotx.inbound), "Zato's word for the transport."
    )
    job_type: lazy_attribute[str] = lazy_attribute(
        lambda self: self._zatotx.job_type or '', "The scheduler's type of job, or ''."
    )
    environ: lazy_attribute[dict[str, Any]] = lazy_attribute(
        lambda self: {} if self._zatotx.environ is None else self._zatotx.environ, 'Free for use during the call.'
    )
    wsgi_environ: lazy_attribute[dict[str, Any]] = lazy_attribute(
        lambda self: wsgi_environ(self._zatotx.inbound), 'The HTTP side in the words of WSGI, as in Zato.'
    )
    server: lazy_attribute[Any] = lazy_attribute(
        lambda self: self._zatotx.invoker.node, 'The node, for internal services (INode).'
    )
    user_config: lazy_attribute[Bunch] = lazy_attribute(
        lambda self: self._zatotx.invoker.user_config, "The users' own INI files: user_config.<file>.<section>.<key>."
    )
    time: lazy_attribute[TimeUtil] = lazy_attribute(_time, 'Dates as text.')
    out: lazy_attribute[Outgoing] = lazy_attribute(
        Outgoing, 'The outgoing connections: out.<kind>[<name>].<method>(…).'
    )
    outgoing: lazy_attribute[Outgoing] = lazy_attribute(lambda self: self.out, "Zato's first name for `out`.")
    rest: lazy_attribute[Any] = lazy_attribute(lambda self: self.out.rest, "3.x's short name for `out.rest`.")
    metrics: lazy_attribute[UserMetrics] = lazy_attribute(
        lambda self: getattr(self._zatotx.invoker.node, 'user_metrics', None) or NoUserMetrics(),
        "Counters of the service's own: metrics.incr(name), .gauge(name, value), .timing(name, seconds).",
    )
    usage: lazy_attribute[int] = lazy_attribute(
        lambda self: getattr(self._zatotx.entry.stats, 'calls', 0), 'How many calls of this service ended on this node.'
    )

    slow_threshold: lazy_attribute[int] = lazy_attribute(
        _slow_threshold, 'Milliseconds from which on a response of it counts as slow.'
    )

    @classmethod
    def get_name(cls) -> str:
        """The name it is deployed under; before that, the one it would get."""
        return cls.__dict__.get('_zatotx_name') or service_name(cls)

    @classmethod
    def get_impl_name(cls) -> str:
        """Module and class, as their author knows them: `crm.GetBalance`."""
        return impl_name(cls)

    def handle(self) -> Any:
        """What the service does. Subclasses define it, or handle_GET, handle_POST …"""
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
        """Invoke another service, by name or class: same cid and deadline, same process.

        In `async def` to be awaited; in `def` it gives the result itself: what the service set as its payload,
        without its response element. Of `timeout` (seconds) and the deadline the earlier counts. Zato's further
        arguments (channel, data_format, transport, serialize, raise_timeout …) are taken, positional ones too.

        Raises NotFound and Inactive naming the service, Timeout, and whatever it raises.
        """
        from zatotx.service.invoke import ServiceInvocation, call_service

        options.update(zip(('channel', 'data_format', 'transport', 'serialize'), args, strict=False))
        if len(args) > 4:
            as_bunch = bool(args[4])
        call = ServiceInvocation(
            target=target,
            payload=payload,
            timeout=timeout,
            as_bunch=as_bunch,
            raise_timeout=options.pop('raise_timeout', True),
            options=options,
        )
        return call_service(self._zatotx, call)

    def invoke_by_impl_name(self, impl: str, *args: Any, **options: Any) -> Any:
        """As `invoke`, by module and class: `crm.GetBalance`."""
        found = (entry.name for entry in self._zatotx.services if impl_name(entry.cls) == impl)
        return self.invoke(next(found, impl), *args, **options)

    def log_input(self, user_msg: str = '', level: int = logging.INFO, suppress_keys: Iterable[str] = ()) -> None:
        """Log what the service was asked. Secrets are masked, by their type or name."""
        if self.logger.isEnabledFor(level):
            self.logger.log(level, '%s input: %s', user_msg, format_for_log(self, 'input', suppress_keys))

    def log_output(self, user_msg: str = '', level: int = logging.INFO, suppress_keys: Iterable[str] = ()) -> None:
        """Log what the service answers, likewise."""
        if self.logger.isEnabledFor(level):
            self.logger.log(level, '%s output: %s', user_msg, format_for_log(self, 'output', suppress_keys))

    @property
    def invocation_time(self) -> datetime:
        """When the call began, UTC, without a zone, as in Zato."""
        return datetime.fromtimestamp(self._zatotx.started_at, UTC).replace(tzinfo=None)

    @property
    def handle_return_time(self) -> datetime | None:
        """When `handle` ended, likewise; None before. For hooks."""
        at = self._zatotx.returned_at
        return datetime.fromtimestamp(at, UTC).replace(tzinfo=None) if at else None

    @property
    def processing_time(self) -> int | None:
        """How long `handle` took with its hooks, in milliseconds; None before it ended."""
        run = self._zatotx
        return round((run.returned_at - run.started_at) * 1000) if run.returned_at else None
