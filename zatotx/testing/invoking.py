"""The real Invoker and the real answers to faults, as a test needs them: nothing is logged away, nothing is lost."""

from __future__ import annotations

from collections.abc import Coroutine
from threading import Thread
from typing import Any

from attrs import define
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.interfaces.services import IServiceEntry, IServices
from zatotx.model.message import Message, Outcome
from zatotx.pipeline.codecs import Codecs, RawCodec
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.service.invoker import Invocation, Invoker
from zatotx.service.thread_pool import ServiceThreads
from zatotx.testing.clock import KitClock
from zatotx.testing.connections import ScriptedOutgoing
from zatotx.testing.inline_threads import InlineThreads
from zatotx.testing.recorder import Recorder
from zatotx.testing.request_builder import INVOKE, NOTHING, BuiltRequest


@define(eq=False)
class KitNode:
    """What services see of the node in a test."""

    outgoing: ScriptedOutgoing
    name: str = 'test'
    cluster: str = 'test'


class KitInvoker(Invoker):
    """Runs services, and keeps what the first of each chain made before it is written."""

    def __init__(self, clock: Any, node: KitNode, recorder: Recorder, **known: Any) -> None:
        self.pool = ServiceThreads('service', 5)  # threads are made only where a reactor runs
        super().__init__(clock, self.pool, node=node, **known)
        self._log = Logger('zatotx.service', observer=recorder)
        self.asked: dict[int, BuiltRequest] = {}  # by the id of their messages, until they are run
        self.outcomes: dict[int, Outcome] = {}
        if isinstance(clock, KitClock):
            self.threads = InlineThreads(self, clock)
        else:
            self.pool.start()

    def close(self) -> None:
        """Let go of the threads. One whose service never returns is left behind: it keeps nobody from ending."""
        if self.pool.started:
            Thread(target=self.pool.stop, daemon=True).start()

    def invoke(
        self, entry: IServiceEntry, services: IServices, inbound: Message, payload: Any
    ) -> Coroutine[Any, Any, Outcome]:
        run = Invocation(self, entry, services, inbound, payload)
        asked = self.asked.pop(id(inbound))
        if asked.handed is not NOTHING:  # as facade.child_run does it
            run.payload = run.raw = asked.handed
        if asked.environ is not None:
            run.environ = dict(asked.environ)
        return self._kept(run)

    async def _kept(self, run: Invocation) -> Outcome:
        outcome = self.outcomes[id(run.inbound)] = await self.perform(run)
        return outcome


@implementer(ICodec)
class Unwritten(RawCodec):
    """Between services values are handed over, not written."""

    def encode(self, value: object) -> bytes:
        return b''


class KitCodecs(Codecs):
    """The codecs of channels; none for what one service hands to another."""

    def __init__(self) -> None:
        super().__init__()
        self._unwritten = Unwritten()

    def of(self, inbound: Message) -> ICodec:
        if inbound.channel.kind == INVOKE:
            codec: ICodec = self._unwritten
            return codec
        return super().of(inbound)


class KitFaults(ErrorReplies):
    """Answers to faults; what they log is kept."""

    frames_stay = True  # whoever tests a service looks for the line

    def __init__(self, recorder: Recorder) -> None:
        self._log = Logger('zatotx.pipeline', observer=recorder)
