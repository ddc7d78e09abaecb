"""Checks that the ODB and Redis are reachable, of a supported version, and usable, and that their clocks agree."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from zatotx.cli.checks.check_definition import BROKEN, NODE, REQUEST_TIMEOUT, WARNING, Check, CheckContext
from zatotx.cli.environment.component_types import REDIS, SERVER
from zatotx.cli.environment.environment_layout import Component, components_of, get_setting, read_settings
from zatotx.cli.environment.odb_and_redis_access import (
    all_object_types,
    convert_errors,
    is_embedded,
    odb_url,
    redis_address,
)
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.environment.secret_key_access import read_secret_key
from zatotx.cli.errors import CommandError
from zatotx.rules.resilience.process_supervision import NODE_TIMEOUT

if TYPE_CHECKING:
    from zatotx.connectors.kind_registry import InstalledKind
    from zatotx.odb.odb_health import OdbHealth
    from zatotx.redis.server_info import ServerInfo


_TIME_ERROR = 5  # the clock is not synchronized
_STRUCT = 256  # bytes, at least the size of struct timex on any platform; all zero = read only


def is_clock_unsynchronized() -> bool:
    """Return whether the kernel reports that its clock is not synchronized. Returns False if the state cannot be
    determined."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT))
    except (OSError, AttributeError):
        return False
    return state == _TIME_ERROR


LARGE_SQLITE_FILE = 20 * 1024**3  # bytes of an SQLite file
MEMORY_WARNING_SHARE = 0.9  # share of Redis's maxmemory
MAX_CLOCK_DIFFERENCE = 2.0  # tolerated difference of two clocks in seconds


def inspect_odb(part: Component) -> OdbHealth:
    """Inspect the ODB that is configured in the settings of a server. Raises CommandError."""
    from zatotx.odb.odb_health import check_odb_health
    from zatotx.odb.offline_operations import inspect_schema_state, open_database

    with convert_errors():
        url = odb_url(part)
        state = inspect_schema_state(url)
        if state == 'older':
            raise CommandError("The ODB has an older schema version: stop all servers and run 'zatotx odb upgrade "
                          f"{part.path.parent}'.")  # fmt: skip
        cluster = get_setting(read_settings(part), 'main', 'cluster', '')
        return check_odb_health(open_database(url, read_secret_key(part), cluster=cluster, types=all_object_types()))


class RedisInspection(NamedTuple):
    """The information that Redis reports about itself, the time of the request, and its duration."""

    facts: ServerInfo
    at: float  # Unix time
    duration: float  # seconds


def inspect_redis(part: Component) -> RedisInspection | None:
    """Inspect the Redis that is configured in the settings of a server. Returns None for an embedded Redis that is
    stopped. Raises CommandError."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.redis.sync_probe import probe_redis

    address = redis_address(part)
    embedded = Component(REDIS, part.path.parent / 'redis')
    if is_embedded(address, part) and running_process(embedded) is None:
        return None
    before = time.time()
    try:
        facts = probe_redis(address, REQUEST_TIMEOUT)
    except ServiceUnavailable as error:
        raise CommandError(f'{error.msg}.') from None
    after = time.time()
    return RedisInspection(facts, after, after - before)


def check_odb(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the ODB is reachable, readable and writable, and that an SQLite file is not too large."""
    found: OdbHealth = context.cached(inspect_odb, part)
    if found.title == 'SQLite' and found.size > LARGE_SQLITE_FILE:
        yield WARNING, (f'the ODB ({found.url}) has {found.size // 1024**3} GiB, which is large for SQLite: move it to '
                        'PostgreSQL or MariaDB')  # fmt: skip


def check_dead_letters(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that there are no dead letters."""
    first = next(one for one in components_of(part.path.parent) if one.kind == SERVER)
    found: OdbHealth | None = _inspect_or_none(context, inspect_odb, part) if part == first else None
    if found is not None and found.dead_letters:
        is_one = found.dead_letters == 1
        yield WARNING, (f'{found.dead_letters} message{" is a dead letter" if is_one else "s are dead letters"}: see '
                        f"'zatotx dead-letter list {part.path.parent}', then replay or purge")  # fmt: skip


def check_kind_libraries(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the libraries of every kind that the cluster uses are installed."""
    from zatotx.connectors.kind_registry import find_kinds

    found: OdbHealth | None = _inspect_or_none(context, inspect_odb, part)
    for sentence in missing_libraries(find_kinds(), frozenset() if found is None else found.object_types):
        yield BROKEN, sentence


def missing_libraries(kinds: Iterable[InstalledKind], used: Container[str]) -> Iterator[str]:
    """Yield a sentence for each disabled kind whose objects are in use. `used` contains the type keys of all
    objects."""
    from zatotx.connectors.kind_registry import object_types_of_kinds

    for found in kinds:
        if not found.enabled and any(each.key in used for each in object_types_of_kinds([found])):
            yield f'the kind {found.kind.name} is disabled, and there are objects of it: {found.missing_reason}'


def check_redis(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that Redis is reachable, persists its data, and has free memory."""
    from zatotx.redis.server_info import server_configuration_warnings

    inspection: RedisInspection | None = context.cached(inspect_redis, part)
    if inspection is None or not inspection.facts.run_id:  # it is stopped, or its user may not run INFO
        return
    found = inspection.facts
    where = str(redis_address(part))
    for sentence in server_configuration_warnings(found, where):
        yield WARNING, sentence
    if not found.is_append_only:
        yield WARNING, (f"{where} has no append-only file, so a restart loses data: set "
                        "'appendonly yes' there")  # fmt: skip
    if found.memory_limit and found.memory > found.memory_limit * MEMORY_WARNING_SHARE:
        yield WARNING, (f'{where} uses {found.memory * 100 // found.memory_limit} % of its maximum memory: raise '
                        'maxmemory there, or see what uses it')  # fmt: skip


def check_clocks(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the clocks of this machine, the ODB, Redis and the other nodes agree."""
    for ahead, clock_owner in _differences(context, part):
        if abs(ahead) > MAX_CLOCK_DIFFERENCE:
            severity = BROKEN if abs(ahead) > NODE_TIMEOUT else WARNING
            yield (
                severity,
                (
                    f'the clock of {clock_owner} is {abs(ahead):.1f} s {"ahead of" if ahead > 0 else "behind"} this '
                    "machine's: synchronize both with NTP (chrony, systemd-timesyncd)"
                ),
            )


def check_ntp(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the clock is synchronized by NTP if the cluster spans several machines."""
    found: OdbHealth | None = _inspect_or_none(context, inspect_odb, part)
    local = {server.name for server in components_of(part.path.parent)}
    if found is not None and any(row.name not in local for row in found.nodes) and is_clock_unsynchronized():
        yield WARNING, ("this machine's clock is not synchronized, and the cluster has servers on other machines: run "
                        'chrony or systemd-timesyncd')  # fmt: skip


def _differences(context: CheckContext, part: Component) -> Iterator[tuple[float, str]]:
    """Yield by how much at least a clock is ahead of this one, and whose clock it is. Failed requests are ignored here.
    """
    from zatotx.odb.nodes import RUNNING

    found: OdbHealth | None = _inspect_or_none(context, inspect_odb, part)
    if found is not None:
        yield _minimum_difference(found.clock_offset, found.round_trip / 2), f'the ODB ({found.url})'
        for row in found.nodes:  # a clock that is behind looks like a missing heartbeat
            if row.up_status == RUNNING:
                yield max(0.0, row.seen_at - context.now()), row.name
    inspection: RedisInspection | None = _inspect_or_none(context, inspect_redis, part)
    if inspection is not None and inspection.facts.time:
        shift = context.now() - time.time()
        difference = inspection.facts.time - inspection.at - shift
        yield _minimum_difference(difference, inspection.duration), str(redis_address(part))


def _minimum_difference(ahead: float, unsure: float) -> float:
    """Return a difference reduced by the uncertainty of its measurement."""
    return max(0.0, ahead - unsure) if ahead > 0 else min(0.0, ahead + unsure)


def _inspect_or_none(context: CheckContext, inspect_store: Any, part: Component) -> Any:
    try:
        return context.cached(inspect_store, part)
    except (CommandError, OSError):
        return None


CHECKS = (
    Check(
        'ODB',
        'the ODB is unavailable, does not respond, rejects writes, has another schema version, was encrypted '
        'with another key or lacks the cluster; its SQLite file has more than 20 GiB',
        NODE,
        check_odb,
        sends_requests=True,
    ),
    Check(
        'Redis',
        'Redis is unavailable or rejects the login; it is too old, a replica, evicts keys when full '
        '(maxmemory-policy), has no append-only file, failed to write, or uses 90 % of its memory',
        NODE,
        check_redis,
        sends_requests=True,
    ),
    Check('kinds', 'there are objects of a kind whose library is not installed', SERVER, check_kind_libraries,
          sends_requests=True),
    Check(
        'dead letters',
        'messages failed as often as they may run, and wait for replay or purge',
        SERVER,
        check_dead_letters,
        sends_requests=True,
    ),
    Check(
        'clocks',
        'the clock of the ODB, of Redis or of another node differs by 2 s (warning) or 6 s (broken)',
        SERVER,
        check_clocks,
        sends_requests=True,
    ),
    Check(
        'clocks',
        'NTP does not synchronize this machine, and the cluster has servers on other machines',
        SERVER,
        check_ntp,
        sends_requests=True,
    ),
)
