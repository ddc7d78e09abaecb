"""Implements the commands of HAProxy's stats socket that the agent supports, with output in HAProxy's format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zatotx.interfaces.load_balancer import IBalancerControl, ServerStatus

# Zato's numbers.
COMMANDS = {0: 'help', 1: 'show info', 2: 'show stat', 3: 'show errors', 4: 'show sess'}

_STAT_COLUMNS = (
    'pxname', 'svname', 'qcur', 'scur', 'stot', 'econ', 'status', 'weight', 'act', 'bck', 'lastchg', 'addr',
)  # fmt: skip
_INFO_NAMES = {'name': 'Name', 'version': 'Version', 'pid': 'Pid', 'uptime': 'Uptime_sec', 'workers': 'Nbproc',
               'current_sessions': 'CurrConns', 'total_sessions': 'CumConns'}  # fmt: skip


def format_command(name: str, control: IBalancerControl) -> str:
    """Return the output of one of the commands in COMMANDS."""
    if name == 'show info':
        return format_info(control.info())
    if name == 'show stat':
        return format_stat(control.servers())
    if name == 'show errors':
        return ''.join(f'{line}\n' for line in control.recent_errors()) or 'Total events captured: 0\n'
    if name == 'show sess':
        return ''.join(
            f'{server.backend}/{server.name}: current={server.current_sessions} queued={server.queued} '
            f'total={server.total_requests}\n' for server in control.servers()
        )  # fmt: skip
    return ''.join(f'{number}: {command}\n' for number, command in COMMANDS.items())


def format_info(info: Mapping[str, str | int | float]) -> str:
    """Format information about the process as lines `Name: value`. HAProxy's names are used for the information that
    HAProxy also has."""
    lines = [f'{_INFO_NAMES.get(name, name)}: {int(value) if isinstance(value, float) else value}'
             for name, value in info.items()]  # fmt: skip
    lines.append(f'Uptime: {format_uptime(float(info.get("uptime", 0)))}')
    return '\n'.join(lines) + '\n'


def format_uptime(seconds: float) -> str:
    """Format a duration as HAProxy does: 1d 2h03m04s."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f'{days}d {hours}h{minutes:02d}m{rest:02d}s'


def format_stat(servers: Iterable[ServerStatus]) -> str:
    """Format the statistics of all servers as CSV with a subset of HAProxy's columns."""
    lines = [f'# {",".join(_STAT_COLUMNS)},']
    for server in servers:
        values = (
            server.backend, server.name, server.queued, server.current_sessions, server.total_requests, server.errors,
            server.state, server.weight, int(not server.is_backup), int(server.is_backup), int(server.last_change),
            server.address,
        )  # fmt: skip
        lines.append(','.join(map(str, values)) + ',')
    return '\n'.join(lines) + '\n'
