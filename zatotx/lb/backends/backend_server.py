"""A server of a running backend, with its load, health, administrative state and counters."""

from __future__ import annotations

from collections.abc import Callable, Sized

import msgspec
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.load_balancer import IServerSlot, ServerState, ServerStatus, ServerUseOutcome
from zatotx.lb.config.model import AdministrativeState, Backend, Server
from zatotx.rules.balancing.consistent_hash import hash_text
from zatotx.rules.balancing.server_eligibility import slow_start_weight
from zatotx.rules.balancing.server_health import HealthPolicy, ServerHealth
from zatotx.rules.balancing.sticky_cookie import make_cookie_value

FAILURES = frozenset(
    {ServerUseOutcome.NOT_CONNECTED, ServerUseOutcome.RESET, ServerUseOutcome.MALFORMED, ServerUseOutcome.TIMED_OUT}
)


def _no_load() -> int:
    """Return 0: there are no other workers."""
    return 0


class BackendServer:
    """A server of a running backend. The function `on_change` is called when the server becomes available or
    unavailable, or when its load drops below its limit. The attributes are plain, because the balancing algorithms read
    them for each request."""

    _log = Logger()

    def __init__(self, name: str, backend: str, cluster: str, *, clock: Callable[[], float],
                 starts_slowly: bool = False) -> None:
        """`starts_slowly`: whether the first start of this server is a slow one, because others already serve."""
        self.name = name
        self.backend = backend
        self.seed = hash_text(name)
        self.cookie = make_cookie_value(cluster, backend, name)
        self.host = ''
        self.port = 0
        self.weight = 1.0  # effective
        self.credit = 0.0
        self.in_flight = 0
        self.limit = 0
        self.total = 0
        self.errors = 0
        self.is_backup = False
        self.is_ready = not starts_slowly
        self.is_down = False
        self.is_ejected = False
        self.is_ejected_elsewhere = False  # by the traffic of another worker
        self.good_probes = 0  # all that this process has made
        self.admin_state: AdministrativeState = 'ready'
        self.health = ServerHealth()
        self.policy = HealthPolicy()
        self.load_of_others: Callable[[], int] = _no_load  # requests of the other workers to this server
        self.publish_load: Callable[[int], None] | None = None  # None = there are no other workers
        self.on_change: Callable[[], None] = lambda: None
        self.queue: Sized = ()  # of the backend: the requests that wait for room
        self.on_room: Callable[[], None] = lambda: None
        self.on_ejection: Callable[[], None] = lambda: None
        self.on_down: Callable[[BackendServer], None] = lambda server: None  # after probes have failed
        self.logs_changes = True  # False in a worker, whose parent logs them
        self._clock = clock
        self._config: Server | None = None
        self._slow_start = 0.0
        self._up_since: float | None = None  # None = not in slow start
        self._last_change = clock()
        self._last_state: ServerState = 'UP'

    def configure(self, config: Server, backend: Backend) -> None:
        """Put a configuration into force. A server at another address starts with unknown health."""
        previous = self._config
        self._config, self._slow_start = config, backend.slow_start
        self.policy = make_health_policy(backend)
        if previous is None or (previous.host, previous.port) != (config.host, config.port):
            self.host, self.port = config.host, config.port
            self.health = ServerHealth()
        if previous is None or previous.state != config.state:
            self.admin_state = config.state
        self.limit = config.max_connections
        self.is_backup = config.backup
        self.refresh()

    @property
    def config(self) -> Server:
        """The configuration in force."""
        assert self._config is not None
        return self._config

    def set_admin_state(self, state: AdministrativeState) -> None:
        """Set the administrative state, until it is set again or the configuration changes it."""
        self.admin_state = state
        self.refresh()

    def set_health(self, health: ServerHealth) -> None:
        """Replace the health by what a probe or another process found."""
        if health != self.health:
            self.health = health
            self.refresh()

    def refresh(self) -> None:
        """Compute the condition from configuration, health and time, and log a change of the state."""
        now = self._clock()
        was_usable, was_down = self.is_usable, self.is_down
        self.is_ready = self.admin_state == 'ready' and self.config.weight > 0
        self.is_down = self.health.is_down
        self.is_ejected = self.is_ejected_elsewhere or self.health.is_ejected(now)
        if self.is_usable and not was_usable and self._slow_start > 0:
            self._up_since = now
        self.update_weight()
        state = self.state
        if state != self._last_state:
            self._last_state, self._last_change = state, now
            if self.logs_changes:
                self._log_change(state)
        self.on_change()
        if self.is_down and not was_down:
            self.on_down(self)

    def update_weight(self) -> bool:
        """Update the effective weight; returns whether the server is still in its slow start."""
        weight = float(self.config.weight or 1)
        if self._up_since is None:
            self.weight = weight
            return False
        elapsed = self._clock() - self._up_since
        self.weight = slow_start_weight(weight, elapsed, self._slow_start)
        if elapsed >= self._slow_start:
            self._up_since = None
        return self._up_since is not None

    def _log_change(self, state: ServerState) -> None:
        log = self._log.info if state == 'UP' or not self.reason or self.admin_state != 'ready' else self._log.error
        log('Server {backend}/{name} ({host}:{port}) is {state}{reason}', backend=self.backend, name=self.name,
            host=self.host, port=self.port, state=state, reason=f': {self.reason}' if self.reason else '')

    @property
    def is_usable(self) -> bool:
        """Whether the server takes new clients."""
        return self.is_ready and not self.is_down and not self.is_ejected

    @property
    def accepts_known_clients(self) -> bool:
        """Whether the server takes clients whose cookie names it, as a draining one does."""
        return self.admin_state != 'maint' and not self.is_down and not self.is_ejected

    @property
    def has_free_slot(self) -> bool:
        """Whether the server is below its limit of concurrent requests, those of all workers counted."""
        return not self.limit or self.in_flight + self.load_of_others() < self.limit

    @property
    def state(self) -> ServerState:
        """The state as the agent and the statistics show it."""
        if self.admin_state == 'maint':
            return 'MAINT'
        if self.is_down or self.is_ejected:
            return 'DOWN'
        return 'UP' if self.is_ready else 'DRAIN'

    @property
    def reason(self) -> str:
        """Why the server is not up; '' if it is."""
        if self.admin_state != 'ready':
            return 'set by the administrator'
        if self.is_down or self.is_ejected:
            return self.health.reason or 'requests to it failed'
        return '' if self.is_ready else 'its weight is 0'

    def status(self, queued: int) -> ServerStatus:
        """Return the status. `queued`: requests that wait in the queue of the backend."""
        return ServerStatus(
            backend=self.backend, name=self.name, address=f'{self.host}:{self.port}', state=self.state,
            reason=self.reason, weight=self.config.weight, is_backup=self.is_backup, current_sessions=self.in_flight,
            queued=queued, total_requests=self.total, errors=self.errors, last_change=self._clock() - self._last_change,
        )  # fmt: skip

    # Slots

    def occupy(self, cookie: str) -> ServerSlot:
        """Return a slot for one request. `cookie`: the value of the sticky cookie to set."""
        self.in_flight += 1
        self.total += 1
        if self.publish_load is not None:
            self.publish_load(self.in_flight)
        return ServerSlot(self, self.name, self.host, self.port, cookie)

    def vacate(self, outcome: ServerUseOutcome) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        if self.publish_load is not None:
            self.publish_load(self.in_flight)
        if outcome is ServerUseOutcome.RESPONDED:
            if self.health.traffic_failures:
                self.health = self.health.record_traffic_success()
        elif outcome in FAILURES:
            self._record_failure(outcome)
        if self.queue:
            self.on_room()

    def _record_failure(self, outcome: ServerUseOutcome) -> None:
        self.errors += 1
        self.health = self.health.record_traffic_failure(self.policy, outcome.value, self._clock())
        if self.health.is_ejected(self._clock()) and not self.is_ejected:
            self.refresh()
            self.on_ejection()


@implementer(IServerSlot)
class ServerSlot(msgspec.Struct, eq=False):
    """Implements IServerSlot. A slot is the permission to send one request to a server."""

    _server: BackendServer | None
    name: str
    host: str
    port: int
    cookie: str

    def release(self, outcome: ServerUseOutcome) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.vacate(outcome)


def make_health_policy(backend: Backend) -> HealthPolicy:
    """Return the health policy of the servers of a backend."""
    check, ejection = backend.check, backend.ejection
    return HealthPolicy(
        interval=check.interval, rise=check.rise, fall=check.fall, is_checked=check.type != 'none',
        ejection_failures=ejection.failures, ejection_duration=ejection.duration,
        max_ejection_duration=ejection.max_duration,
    )  # fmt: skip
