"""What Redis says of itself, and what should be different there."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

OLDEST = (6, 2)  # XAUTOCLAIM, GETDEL, SET … GET


@frozen(kw_only=True)
class ServerInfo:
    """Parts of INFO. What a server does not tell is '' or 0."""

    product: str = ''  # 'valkey', 'redis'
    version: str = ''  # of the product
    redis_version: tuple[int, ...] = ()  # whose commands it knows
    run_id: str = ''  # another one for each life of its process
    mode: str = ''  # 'standalone', 'sentinel', 'cluster'
    role: str = ''  # 'master', 'slave'
    policy: str = ''  # what it does when its memory is full
    uptime: int = 0  # seconds
    time: float = 0.0  # its clock, Unix time
    memory: int = 0  # bytes in use
    memory_limit: int = 0  # bytes, 0 = none
    clients: int = 0
    keeps: bool = False  # an append-only file is on
    write_error: bool = False  # its last write to that file, or its last snapshot, failed


def parse_info(info: str) -> ServerInfo:
    """From the text that INFO gives."""
    said = dict(line.split(':', 1) for line in info.splitlines() if ':' in line and not line.startswith('#'))
    product = said.get('server_name', '') or ('valkey' if 'valkey_version' in said else 'redis')
    return ServerInfo(
        product=product,
        version=said.get(f'{product}_version', said.get('redis_version', '')),
        redis_version=_version(said.get('redis_version', '')),
        run_id=said.get('run_id', ''),
        mode=said.get('redis_mode', said.get('server_mode', '')),
        role=said.get('role', ''),
        policy=said.get('maxmemory_policy', ''),
        uptime=_number(said.get('uptime_in_seconds', '')),
        time=_number(said.get('server_time_usec', '')) / 1e6,
        memory=_number(said.get('used_memory', '')),
        memory_limit=_number(said.get('maxmemory', '')),
        clients=_number(said.get('connected_clients', '')),
        keeps=said.get('aof_enabled') == '1',
        write_error='err' in (said.get('aof_last_write_status'), said.get('rdb_last_bgsave_status')),
    )


def unsupported_reason(facts: ServerInfo) -> str:
    """Why this server cannot be used at all, a clause; '' where it can."""
    if facts.mode == 'cluster':
        return (
            'it runs in cluster mode, where one transaction cannot reach every key: name a Redis without'
            ' cluster-enabled, alone or behind sentinels'
        )
    if facts.mode == 'sentinel':
        return 'it is a sentinel: write redis+sentinel://host:port/master'
    return ''


def warnings(facts: ServerInfo, where: str) -> Iterator[str]:
    """What an administrator should change there, a sentence each. `where`: 'Redis at …'."""
    if facts.policy not in ('', 'noeviction'):
        yield (
            f"{where} has maxmemory-policy {facts.policy}: when its memory is full it drops keys, and with them work"
            f" that was accepted: set 'maxmemory-policy noeviction' there"
        )
    if facts.redis_version and facts.redis_version < OLDEST:
        yield f'{where} is of version {facts.version}: use Redis 6.2 or Valkey 7.2, or newer'
    if facts.role == 'slave':
        yield f'{where} is a replica, which takes no writes: name its master'
    if facts.write_error:
        yield f'{where} could not write to its disk: see its log, and whether that disk is full'


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split('.')[:3] if part.isdigit())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
