"""Parses the reply to the Redis command INFO, and checks the server's settings."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

OLDEST_SUPPORTED = (6, 2)  # XAUTOCLAIM, GETDEL, SET … GET


@frozen(kw_only=True)
class ServerInfo:
    """The fields of the Redis reply to INFO that the broker uses. Missing fields are '' or 0."""

    product: str = ''  # 'valkey', 'redis'
    version: str = ''  # of the product
    redis_version: tuple[int, ...] = ()  # the Redis version whose commands it implements
    run_id: str = ''  # differs for each process of the server
    mode: str = ''  # 'standalone', 'sentinel', 'cluster'
    role: str = ''  # 'master', 'slave'
    maxmemory_policy: str = ''  # maxmemory-policy
    uptime: int = 0  # seconds
    time: float = 0.0  # the server's clock, Unix time
    memory: int = 0  # bytes in use
    memory_limit: int = 0  # bytes, 0 = none
    clients: int = 0
    is_append_only: bool = False  # whether an append-only file is enabled
    has_write_error: bool = False  # the last write to that file, or the last snapshot, failed


def parse_info(info: str) -> ServerInfo:
    """Parse the reply to INFO."""
    fields = dict(line.split(':', 1) for line in info.splitlines() if ':' in line and not line.startswith('#'))
    product = fields.get('server_name', '') or ('valkey' if 'valkey_version' in fields else 'redis')
    return ServerInfo(
        product=product,
        version=fields.get(f'{product}_version', fields.get('redis_version', '')),
        redis_version=_version(fields.get('redis_version', '')),
        run_id=fields.get('run_id', ''),
        mode=fields.get('redis_mode', fields.get('server_mode', '')),
        role=fields.get('role', ''),
        maxmemory_policy=fields.get('maxmemory_policy', ''),
        uptime=_number(fields.get('uptime_in_seconds', '')),
        time=_number(fields.get('server_time_usec', '')) / 1e6,
        memory=_number(fields.get('used_memory', '')),
        memory_limit=_number(fields.get('maxmemory', '')),
        clients=_number(fields.get('connected_clients', '')),
        is_append_only=fields.get('aof_enabled') == '1',
        has_write_error='err' in (fields.get('aof_last_write_status'), fields.get('rdb_last_bgsave_status')),
    )


def unsupported_server_reason(info: ServerInfo) -> str:
    """Return the reason why a server cannot be used at all, as a clause, or '' if it can be used."""
    if info.mode == 'cluster':
        return (
            'it runs in cluster mode, where a transaction cannot access all keys: use a Redis without'
            ' cluster-enabled, standalone or with sentinels'
        )
    if info.mode == 'sentinel':
        return 'it is a sentinel: write redis+sentinel://host:port/master'
    return ''


def server_configuration_warnings(info: ServerInfo, server: str) -> Iterator[str]:
    """Yield a warning, as a sentence, for each setting that an administrator should change. `server` is the name of the
    server, such as 'Redis at …'."""
    if info.maxmemory_policy not in ('', 'noeviction'):
        yield (
            f'{server} has maxmemory-policy {info.maxmemory_policy}: when its memory is full it evicts keys, including '
            f"accepted work: set 'maxmemory-policy noeviction' there"
        )
    if info.redis_version and info.redis_version < OLDEST_SUPPORTED:
        yield f'{server} has version {info.version}: use Redis 6.2, Valkey 7.2 or newer'
    if info.role == 'slave':
        yield f'{server} is a replica, which rejects writes: use its master'
    if info.has_write_error:
        yield f'{server} could not write to its disk: check its log and the free space of its disk'


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split('.')[:3] if part.isdigit())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
