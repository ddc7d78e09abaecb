"""Runs services for the dispatcher and for `self.invoke`. The steps are input, hooks, handler and output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.services import IServiceEntry, IServiceInvoker, IServiceMap
from zatotx.model.message import Message, ServiceResult
from zatotx.service.async_invoke import AsyncInvocation, invoke_async
from zatotx.service.compat.bunch import Bunch
from zatotx.service.hooks import iterate_hooks_and_handler, run_steps_blocking, run_steps_on_reactor
from zatotx.service.invocation import Invocation, build_outcome, describe_invocation, prepare_instance, read_input
from zatotx.service.invoke import ServiceInvocation, invoke_service
from zatotx.service.io import xml_codec
from zatotx.service.io.input_sources import XML
from zatotx.service.missing_await import explain_error
from zatotx.service.schedule import Schedule
from zatotx.service.stuck_threads import StuckThreads
from zatotx.service.thread_calls import JobThreadPool, ServiceThreadCalls, ThreadCall, ThreadLender
from zatotx.system.thread_pool import IThreadReactor

if TYPE_CHECKING:
    from zatotx.service.patterns import Patterns


@implementer(IServiceInvoker)
class Invoker:
    """Runs services, from the input to the response. It must be created in the reactor's thread.

    `pool` runs `def` services and is started by its owner; `node` is `self.server` of the services built into zatotx.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IThreadReactor,
        pool: JobThreadPool,
        *,
        node: Any = None,
        user_config: Bunch | None = None,
        stuck_threads: StuckThreads | None = None,
    ) -> None:
        self.reactor = reactor
        self.threads = ServiceThreadCalls(reactor, pool, stuck_threads)
        self.node = node
        self.user_config = Bunch() if user_config is None else user_config
        self.io_thread = get_ident()
        self.now: Callable[[], float] = time  # seconds since 1970; the wall clock that services see
        self._warned: set[str] = set()

    def invoke(
        self, entry: IServiceEntry, services: IServiceMap, message: Message, payload: Any
    ) -> Coroutine[Any, Any, ServiceResult]:
        """Run a service: input, hooks and handler.

        Raises what the handler raised, BadInput for invalid input, BadOutput for output that does not match its
        declaration, Inactive, MethodNotAllowed.
        """
        return self.perform(
            Invocation(self, entry, services, message, payload, self.now())  # type: ignore[arg-type]  # the entries of a service table are ServiceEntry
        )

    def explain_error(self, error: BaseException, entry: IServiceEntry, result: ServiceResult | None) -> BaseException:
        """Replace an error that a missing `await` caused by one that says where. See IInvoker."""
        return explain_error(error, entry.cls, None if result is None else result.value)

    def invoke_from_service(self, invocation: Invocation, **arguments: Any) -> Any:
        """Invoke another service from a running one: `self.invoke`. `arguments` are those of ServiceInvocation."""
        return invoke_service(invocation, ServiceInvocation(**arguments))

    def invoke_async_from_service(self, invocation: Invocation, **arguments: Any) -> Any:
        """Invoke another service from a running one through the work stream: `self.invoke_async`. `arguments` are those
        of AsyncInvocation."""
        return invoke_async(invocation, AsyncInvocation(**arguments))

    def create_patterns(self, invocation: Invocation) -> Patterns:
        """Return `self.patterns` of a running service."""
        from zatotx.service.patterns import Patterns

        return Patterns(invocation)

    def create_schedule(self, invocation: Invocation) -> Schedule:
        """Return `self.schedule` of a running service."""
        return Schedule(invocation)

    async def perform(self, invocation: Invocation) -> ServiceResult:
        """Run a service as `invoke` does, for an invocation that is already set up."""
        large = invocation.message.channel.data_format in XML and xml_codec.is_large_message(invocation.message)
        service = prepare_instance(invocation, with_input=not large)
        entry, handler = invocation.entry, invocation.handler
        hooks = entry.metadata.hooks
        try:
            if large and (entry.metadata.io.input is not None or (entry.metadata.reads_input and handler.on_reactor)):
                await self._offload(read_input, service, invocation)
            if not handler.on_reactor:
                return await self._run_in_thread(service, invocation)
            if hooks:
                returned = await run_steps_on_reactor(
                    iterate_hooks_and_handler(service, handler, hooks, invocation.job_type)
                )
            else:
                returned = await handler.function(service)
        except SystemExit as error:
            raise RuntimeError(f'Service {entry.name} tried to end the process: SystemExit({error})') from error
        if returned is not None:
            self._warn_about_return_value(invocation, returned)
        return await self._offload(build_outcome, service, invocation) if large else build_outcome(service, invocation)

    def _offload(
        self, function: Callable[[Any, Invocation], Any], service: Any, invocation: Invocation
    ) -> Deferred[Any]:
        """Process the input or output of a large document in a thread."""
        return self.threads.run_in_thread(
            lambda thread_call: function(service, invocation),
            lambda: describe_invocation(invocation),
            invocation.waiting_thread,
            deadline=invocation.message.deadline,
        )

    def _run_in_thread(self, service: Any, invocation: Invocation) -> Deferred[ServiceResult]:
        """Run a `def` service in a thread."""
        return self.threads.run_in_thread(
            lambda thread_call: self.run_handler_in_thread(service, invocation, thread_call),
            lambda: describe_invocation(invocation),
            invocation.waiting_thread,
            deadline=invocation.message.deadline,
        )

    def run_handler_in_thread(
        self, service: Any, invocation: Invocation, thread_call: ThreadCall | None
    ) -> ServiceResult:
        """Run hooks, handler and output of a prepared `def` service. Called in a service thread."""
        invocation.thread_call = thread_call
        try:
            returned = self._run_handler(service, invocation)
            if returned is not None:
                self._warn_about_return_value(invocation, returned)
            return build_outcome(service, invocation)
        finally:
            # Breaks a reference cycle, which would keep the message until the next collection.
            invocation.thread_call = None

    def _run_handler(self, service: Any, invocation: Invocation) -> Any:
        """Run the hooks and the handler, and return what the handler returned. Called in a service thread."""
        handler, hooks = invocation.handler, invocation.entry.metadata.hooks
        if hooks:
            steps = iterate_hooks_and_handler(service, handler, hooks, invocation.job_type)
            return run_steps_blocking(steps, lambda awaitable: self._wait_for(invocation, awaitable))
        returned = handler.function(service)
        return self._wait_for(invocation, returned) if isinstance(returned, Awaitable) else returned

    def _wait_for(self, invocation: Invocation, awaitable: Awaitable[Any]) -> Any:
        """Block a service thread until an awaitable, which only the reactor may run, has its result."""

        async def settle(lender: ThreadLender) -> Any:
            invocation.waiting_thread = lender
            return await awaitable

        return self.threads.run_on_reactor(settle, invocation.thread_call, invocation.message.deadline)

    def _warn_about_return_value(self, invocation: Invocation, returned: Any) -> None:
        """Warn once per service that the return value of `handle` is ignored, as in Zato."""
        if invocation.entry.name not in self._warned:
            self._warned.add(invocation.entry.name)
            self._log.warn(
                'handle of service {service} returned {kind}, which is ignored: set self.response.payload instead '
                '(cid {cid}; said once)',
                service=invocation.entry.name, kind=type(returned).__name__, cid=invocation.message.cid,
            )  # fmt: skip
