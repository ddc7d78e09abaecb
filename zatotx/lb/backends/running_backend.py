"""A running backend, which chooses the server for each request, and queues requests while all servers are busy."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from zatotx.interfaces.load_balancer import BalancingKey, IBackend, IServerSlot, NoServerAvailableError, ServerStatus
from zatotx.lb.backends.backend_server import BackendServer, ServerSlot
from zatotx.lb.config.model import AdministrativeState, Backend
from zatotx.rules.balancing.algorithms import choose_lowest_load, choose_power_of_two, choose_round_robin
from zatotx.rules.balancing.consistent_hash import choose_consistent_hash, hash_text
from zatotx.rules.balancing.server_eligibility import select_eligible_servers
from zatotx.rules.balancing.sticky_cookie import make_cookie_name

_SLOW_START_STEP = 0.5  # seconds between updates of the weights of servers in slow start
_SHARED_QUEUE_STEP = 0.02  # seconds between looks at servers that requests of other workers fill

ServerHook = Callable[[BackendServer], None]
# Returns the administrative state of a server, by the names of backend and server and its state in lb.toml.
FindState = Callable[[str, str, AdministrativeState], AdministrativeState]


@define(eq=False)
class _Waiting:
    """A request that waits for a server with room."""

    key: BalancingKey
    excluded: Collection[str]
    acquired: Deferred[IServerSlot]
    timer: IDelayedCall = field(init=False)  # set right after its creation: it ends the wait


@implementer(IBackend)
@define(eq=False, kw_only=True)
class RunningBackend:
    """Implements IBackend with the servers of a backend and a queue. `on_server_added` and `on_server_removed` are
    called for each server that a new configuration adds or removes."""

    name: str
    cluster: str
    clock: IReactorTime
    on_server_added: ServerHook = lambda server: None
    on_server_removed: ServerHook = lambda server: None
    on_server_down: ServerHook = lambda server: None
    find_state: FindState = lambda backend, server, configured: configured  # with which a server starts
    shares_load: bool = False  # whether other workers send requests to the same servers
    update_states: Callable[[], None] = lambda: None  # applies at once what other processes know about the servers
    random: Callable[[], float] = random.random
    key_headers: Collection[str] = field(default=(), init=False)
    key_cookies: Collection[str] = field(default=(), init=False)
    servers: dict[str, BackendServer] = field(factory=dict, init=False)
    rejected: int = field(default=0, init=False)  # requests for which no server was available
    _config: Backend = field(factory=Backend, init=False)
    _choose: Callable[[Sequence[BackendServer], BalancingKey], BackendServer] = field(init=False)
    _available: Sequence[BackendServer] = field(default=(), init=False)
    _by_cookie: dict[str, BackendServer] = field(factory=dict, init=False)
    _cookie_name: str = field(default='', init=False)
    _has_limits: bool = field(default=False, init=False)
    _is_plain: bool = field(default=True, init=False)  # any available server may be chosen for any request
    _queue: deque[_Waiting] = field(factory=deque, init=False)
    _expiry: IDelayedCall | None = field(default=None, init=False)  # ends the next ejection
    _slow_start_loop: LoopingCall = field(init=False)
    _shared_queue_loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._slow_start_loop = self._loop(self._update_weights)
        self._shared_queue_loop = self._loop(self._serve_queue)

    def _loop(self, action: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(action)
        loop.clock = self.clock
        return loop

    @property
    def config(self) -> Backend:
        """The configuration in force."""
        return self._config

    @property
    def queue_length(self) -> int:
        """The number of requests that wait."""
        return len(self._queue)

    def apply(self, config: Backend) -> None:
        """Put a configuration into force. Servers keep their state by name; slots of removed servers stay valid."""
        self._config = config
        removed = [server for name, server in self.servers.items() if name not in config.servers]
        added: list[BackendServer] = []
        starts_slowly = bool(self.servers)
        for name, server_config in config.servers.items():
            server = self.servers.get(name)
            is_new = server is None
            if server is None:
                server = BackendServer(name, self.name, self.cluster, clock=self.clock.seconds,
                                       starts_slowly=starts_slowly)
                server.queue, server.on_down = self._queue, self._server_down
                added.append(server)
            server.on_change = server.on_room = _do_nothing
            server.configure(server_config, config)
            if is_new:
                server.set_admin_state(self.find_state(self.name, name, server_config.state))
            self.servers[name] = server
        for server in removed:
            del self.servers[server.name]
            server.on_change = server.on_room = _do_nothing
            server.on_down = _ignore_server
        self._prepare_choice()
        for server in added:
            self.on_server_added(server)
        for server in self.servers.values():
            server.on_change, server.on_room = self._servers_changed, self._serve_queue
        for server in removed:
            self.on_server_removed(server)
        self._servers_changed()

    def _prepare_choice(self) -> None:
        config = self._config
        source, _, name = config.hash_on.partition(':')
        uses_hash = config.algorithm == 'consistent_hash'
        sticky = config.sticky_cookie
        self._cookie_name = '' if sticky is None else make_cookie_name(sticky.name, self.cluster)
        self.key_headers = (name.lower(),) if uses_hash and source == 'header' else ()
        hashed_cookies = (name,) if uses_hash and source == 'cookie' else ()
        self.key_cookies = hashed_cookies + ((self._cookie_name,) if self._cookie_name else ())
        self._by_cookie = {server.cookie: server for server in self.servers.values()}
        self._has_limits = any(server.limit for server in self.servers.values())
        self._is_plain = not self._has_limits and not self._cookie_name
        self._choose = self._make_choice(config, source, name)

    def _make_choice(self, config: Backend, source: str, name: str
                     ) -> Callable[[Sequence[BackendServer], BalancingKey], BackendServer]:
        if config.algorithm == 'round_robin':
            return lambda servers, key: choose_round_robin(servers)
        if config.algorithm == 'power_of_two':
            return lambda servers, key: choose_power_of_two(servers, self.random)
        if config.algorithm == 'consistent_hash':
            balance = config.hash_balance
            if source == 'header':
                header = name.lower()
                return lambda servers, key: choose_consistent_hash(
                    servers, hash_text(key.headers.get(header, '')), balance)
            if source == 'cookie':
                return lambda servers, key: choose_consistent_hash(
                    servers, hash_text(key.cookies.get(name, '')), balance)
            return lambda servers, key: choose_consistent_hash(servers, hash_text(key.client_address), balance)
        return lambda servers, key: choose_lowest_load(servers)

    # IBackend

    def acquire_now(self, key: BalancingKey, excluded: Collection[str] = ()) -> IServerSlot | None:
        """See IBackend."""
        if self._is_plain and not excluded and self._available:
            return self._choose(self._available, key).occupy('')
        if all(server.name in excluded for server in self._available):  # no server is left
            self.update_states()
        if self._queue and self._has_limits:  # those that wait come first
            return None
        return self._acquire(key, excluded)

    def acquire(self, key: BalancingKey, excluded: Collection[str] = ()) -> Deferred[IServerSlot]:
        """See IBackend."""
        try:
            slot = self.acquire_now(key, excluded)
        except NoServerAvailableError as error:
            return fail(error)
        if len(self._queue) >= self._config.max_queue and slot is None:
            return fail(self._unavailable(f'its queue of {self._config.max_queue} requests is full'))
        acquired: Deferred[IServerSlot] = Deferred(self._leave_queue)
        if slot is not None:
            acquired.callback(slot)
            return acquired
        waiting = _Waiting(key, excluded, acquired)
        waiting.timer = self.clock.callLater(self._config.timeouts.queue, self._queue_timeout, waiting)
        self._queue.append(waiting)
        if self.shares_load and not self._shared_queue_loop.running:
            self._shared_queue_loop.start(_SHARED_QUEUE_STEP, now=False)
        return acquired

    def _acquire(self, key: BalancingKey, excluded: Collection[str]) -> ServerSlot | None:
        """Return a slot, or None if all servers are full. Raises NoServerAvailableError."""
        cookie_name = self._cookie_name
        known = self._by_cookie.get(key.cookies.get(cookie_name, '')) if cookie_name else None
        if known is not None and known.accepts_known_clients and known.name not in excluded and known.has_free_slot:
            return known.occupy('')
        candidates = self._available
        if excluded:
            candidates = [server for server in candidates if server.name not in excluded]
        if not candidates:
            reason = 'all of its available servers have been tried' if self._available else self._why_unavailable()
            raise self._unavailable(reason)
        if self._has_limits:
            candidates = [server for server in candidates if server.has_free_slot]
            if not candidates:
                return None
        server = self._choose(candidates, key)
        # A known server that is only full keeps its clients: they return to it with the next request.
        is_kept = known is not None and known.accepts_known_clients
        return server.occupy(server.cookie if cookie_name and not is_kept else '')

    def _unavailable(self, reason: str) -> NoServerAvailableError:
        self.rejected += 1
        return NoServerAvailableError(f'No server of the backend {self.name} is available: {reason}')

    def _why_unavailable(self) -> str:
        states = [f'{server.name} is {server.state}' for server in self.servers.values()]
        return ', '.join(states) or 'it has none'

    # The queue

    def _leave_queue(self, acquired: Deferred[IServerSlot]) -> None:
        """Called when a Deferred of `acquire` is cancelled."""
        for waiting in self._queue:
            if waiting.acquired is acquired:
                waiting.timer.cancel()
                self._queue.remove(waiting)
                return

    def _queue_timeout(self, waiting: _Waiting) -> None:
        self._queue.remove(waiting)
        seconds = self._config.timeouts.queue
        waiting.acquired.errback(self._unavailable(f'all of its servers were full for {seconds:g} s'))

    def _serve_queue(self) -> None:
        """Give slots to those that wait, in their order, as far as there is room."""
        for waiting in tuple(self._queue):
            if waiting.acquired.called:  # served, or gone, by a callback of another one
                continue
            try:
                slot = self._acquire(waiting.key, waiting.excluded)
            except NoServerAvailableError as error:
                self._take_from_queue(waiting)
                waiting.acquired.errback(error)
                continue
            if slot is not None:
                self._take_from_queue(waiting)
                waiting.acquired.callback(slot)
            elif not waiting.excluded:  # nor is there room for those behind it
                break
        if not self._queue and self._shared_queue_loop.running:
            self._shared_queue_loop.stop()

    def _take_from_queue(self, waiting: _Waiting) -> None:
        waiting.timer.cancel()
        self._queue.remove(waiting)

    # Changes of servers

    def _servers_changed(self) -> None:
        self._available = select_eligible_servers(self.servers.values())
        self._plan_expiry()
        if self._config.slow_start and not self._slow_start_loop.running:
            self._slow_start_loop.start(_SLOW_START_STEP, now=False)
        if self._queue:
            self._serve_queue()

    def _server_down(self, server: BackendServer) -> None:
        """Let requests that wait for a server go to another one, if there is one."""
        if self._available:
            self.on_server_down(server)

    def _plan_expiry(self) -> None:
        """Refresh the servers when the next ejection ends."""
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        ends = [server.health.ejected_until for server in self.servers.values() if server.is_ejected]
        times = [end for end in ends if end is not None]
        self._expiry = None
        if times:
            self._expiry = self.clock.callLater(max(0.0, min(times) - self.clock.seconds()), self._ejection_ended)

    def _ejection_ended(self) -> None:
        for server in self.servers.values():
            if server.is_ejected:
                server.refresh()

    def _update_weights(self) -> None:
        still_slow = [server.update_weight() for server in self.servers.values()]
        if not any(still_slow):
            self._slow_start_loop.stop()

    def statuses(self) -> list[ServerStatus]:
        """Return the status of all servers."""
        return [server.status(len(self._queue)) for server in self.servers.values()]

    def stop(self) -> None:
        """Cancel all timers, and fail those that wait."""
        for loop in (self._slow_start_loop, self._shared_queue_loop):
            if loop.running:
                loop.stop()
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        for waiting in tuple(self._queue):
            self._take_from_queue(waiting)
            waiting.acquired.errback(self._unavailable('the load balancer stops'))
        for server in self.servers.values():
            server.on_change = server.on_room = _do_nothing
            server.on_down = _ignore_server


def _do_nothing() -> None:
    """The hooks of a server that no backend uses."""


def _ignore_server(server: BackendServer) -> None:
    """The same for the hook that gets the server."""
