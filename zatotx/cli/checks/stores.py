"""The ODB and Redis: reachable, of this version, usable; and the clocks of both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from zatotx.cli.checks.finding import BROKEN, PATIENCE, WARNING, Check, CheckContext
from zatotx.cli.checks.kernel_clock import is_clock_unsynchronized
from zatotx.cli.environment.layout import REDIS, SERVER, Component, components_of, setting, settings
from zatotx.cli.environment.odb_access import error_sentences, object_types, odb_url
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.redis_access import is_embedded, redis_address
from zatotx.cli.environment.secret_keys import read_secret_key
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.odb.health import OdbHealth
    from zatotx.redis.server_info import ServerInfo

LARGE = 20 * 1024**3  # bytes of an SQLite file
FULL = 0.9  # of the memory that Redis may have
AHEAD = 2.0  # seconds between two clocks that are still alright
GONE = 6.0  # seconds after which nodes take each other for gone: zatotx.node.live_config.ALIVE


def inspect_odb(part: Component) -> OdbHealth:
    """The ODB as a server would find it. Raises Failure."""
    from zatotx.odb.health import examine_odb
    from zatotx.odb.setup import open_database, schema_state

    with error_sentences():
        url = odb_url(part)
        state = schema_state(url)
        if state == 'older':
            raise CommandError("The ODB is of an older version of zatotx: stop all servers and run 'zatotx odb upgrade "
                          f"{part.path.parent}'.")  # fmt: skip
        cluster = setting(settings(part), 'main', 'cluster', '')
        return examine_odb(open_database(url, read_secret_key(part), cluster=cluster, types=object_types()))


class RedisInspection(NamedTuple):
    """What Redis said of itself, when, and how long that took."""

    facts: ServerInfo
    at: float  # Unix time
    way: float  # seconds


def inspect_redis(part: Component) -> RedisInspection | None:
    """Redis as a server would find it; None for the environment's own, where that does not run. Raises Failure."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.redis.sync_probe import probe

    address = redis_address(part)
    own = Component(REDIS, part.path.parent / 'redis')
    if is_embedded(address, part) and running_process(own) is None:
        return None
    before = time.time()
    try:
        facts = probe(address, PATIENCE)
    except ServiceUnavailable as error:
        raise CommandError(f'{error.msg}.') from None
    after = time.time()
    return RedisInspection(facts, after, after - before)


def odb(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """It can be reached, read and written, and is not too large for a file."""
    found: OdbHealth = scene.once(inspect_odb, part)
    if found.title == 'SQLite' and found.size > LARGE:
        yield WARNING, (f'the ODB ({found.url}) has {found.size // 1024**3} GiB, much for a file: move it to '
                        'PostgreSQL or MariaDB')  # fmt: skip


def redis(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """It can be reached, keeps what it accepted, and has memory left."""
    from zatotx.redis.server_info import warnings

    look: RedisInspection | None = scene.once(inspect_redis, part)
    if look is None or not look.facts.run_id:  # it does not run, or its user may not ask
        return
    found = look.facts
    where = str(redis_address(part))
    for sentence in warnings(found, where):
        yield WARNING, sentence
    if not found.keeps:
        yield WARNING, (f"{where} keeps no append-only file: what it accepted is lost when it ends: set "
                        "'appendonly yes' there")  # fmt: skip
    if found.memory_limit and found.memory > found.memory_limit * FULL:
        yield WARNING, (f'{where} uses {found.memory * 100 // found.memory_limit} % of the memory it may have: raise '
                        'maxmemory there, or see what fills it')  # fmt: skip


def clocks(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """This machine, the ODB, Redis and the other nodes have the same time."""
    for ahead, whose in _differences(scene, part):
        if abs(ahead) > AHEAD:
            severity = BROKEN if abs(ahead) > GONE else WARNING
            yield severity, (f"the clock of {whose} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this "
                             "machine's: have both kept by NTP (chrony, systemd-timesyncd)")  # fmt: skip


def check_ntp(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """The clock of a machine that is not alone in its cluster is kept by something."""
    found: OdbHealth | None = _asked(scene, inspect_odb, part)
    local = {server.name for server in components_of(part.path.parent)}
    if found is not None and any(row.name not in local for row in found.nodes) and is_clock_unsynchronized():
        yield WARNING, ("nothing keeps this machine's clock, and the cluster has servers on others: run chrony or "
                        'systemd-timesyncd')  # fmt: skip


def _differences(scene: CheckContext, part: Component) -> Iterator[tuple[float, str]]:
    """By how much a clock is ahead of this one, surely, and whose it is. What cannot be asked is no finding here."""
    from zatotx.odb.nodes import RUNNING

    found: OdbHealth | None = _asked(scene, inspect_odb, part)
    if found is not None:
        yield _surely(found.ahead, found.way / 2), f'the ODB ({found.url})'
        for row in found.nodes:  # one that is behind looks like one that has not been heard of
            if row.up_status == RUNNING:
                yield max(0.0, row.seen_at - scene.now()), row.name
    look: RedisInspection | None = _asked(scene, inspect_redis, part)
    if look is not None and look.facts.time:
        shift = scene.now() - time.time()
        yield _surely(look.facts.time - look.at - shift, look.way), str(redis_address(part))


def _surely(ahead: float, unsure: float) -> float:
    """A difference less what its measuring may have added."""
    return max(0.0, ahead - unsure) if ahead > 0 else min(0.0, ahead + unsure)


def _asked(scene: CheckContext, ask: Any, part: Component) -> Any:
    try:
        return scene.once(ask, part)
    except (CommandError, OSError):
        return None


CHECKS = (
    Check('ODB', 'the ODB is away, gives no answer, takes no writes, is of another version, was written with another '
          'key or holds no such cluster; its SQLite file has more than 20 GiB', SERVER, odb, asks=True),
    Check('Redis', 'Redis is away or refuses; it is too old, a replica, drops keys when full (maxmemory-policy), keeps '
          'no append-only file, could not write, or has used 90 % of its memory', SERVER, redis, asks=True),
    Check('clocks', 'the clock of the ODB, of Redis or of another node differs by 2 s (warning) or 6 s (broken)',
          SERVER, clocks, asks=True),
    Check('clocks', "nothing keeps this machine's clock (NTP), and the cluster has servers on other machines", SERVER,
          check_ntp, asks=True),
)  # fmt: skip
