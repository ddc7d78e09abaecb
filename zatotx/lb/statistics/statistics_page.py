"""Renders the statistics page. The page is one HTML document without scripts and external resources, and its charts are
SVG. Pure functions."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from html import escape

from zatotx.interfaces.load_balancer import ServerStatus
from zatotx.lb.statistics.statistics_snapshot import HISTORY_LENGTH, HistoryPoint, StatisticsSnapshot, TrafficFigures

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 1.6rem }
table { border-collapse: collapse } th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child, td.text, th.text { text-align: left } th { background: #f3f3f3 }
.UP { color: #0a6b2d } .DOWN { color: #b00020; font-weight: bold } .MAINT, .DRAIN { color: #8a5a00 }
figure { display: inline-block; margin: 0 1.5rem 0 0 } figcaption { color: #555 }
svg { background: #f8f8f8; border: 1px solid #ddd }
polyline { fill: none; stroke: #2060c0; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
body { color: #ddd; background: #181818 } th { background: #262626 } th, td { border-color: #333 }
svg { background: #202020; border-color: #333 } polyline { stroke: #79aaff } figcaption { color: #aaa }
.UP { color: #63d28b } .DOWN { color: #ff8090 } .MAINT, .DRAIN { color: #e0b050 } }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"

_WIDTH, _HEIGHT = 300, 80  # pixels of a chart


def render_statistics_page(
    snapshot: StatisticsSnapshot, *, title: str, facts: Sequence[tuple[str, str]], refresh: int
) -> bytes:
    """Render the statistics page. `facts` are pairs (name, value) with information about the process. `refresh` is the
    reload interval in seconds."""
    body = [
        f'<h1>{escape(title)}</h1>',
        '<p>' + ' · '.join(f'{escape(name)} {escape(value)}' for name, value in facts) + '</p>',
        _charts(snapshot.history),
        '<h2>Frontends</h2>', _frontends(snapshot), '<h2>Backends</h2>', _backends(snapshot),
        '<h2>Servers</h2>', _servers(snapshot.servers), '<h2>Last errors</h2>', _errors(snapshot.recent_errors),
    ]  # fmt: skip
    head = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{refresh}">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>'
    )
    return (head + ''.join(body) + '</body></html>').encode()


def _charts(history: Sequence[HistoryPoint]) -> str:
    if not history:
        return ''
    return ''.join((
        _chart('Requests a second', history, lambda point: point.requests, '{:.4g}'),
        _chart('Errors (5xx) a second', history, lambda point: point.errors, '{:.4g}'),
        _chart('Connections', history, lambda point: point.connections, '{:.0f}'),
        _chart('Mean time, ms', history, lambda point: point.mean_time * 1000, '{:.3g}'),
    ))  # fmt: skip


def _chart(name: str, history: Sequence[HistoryPoint], value: Callable[[HistoryPoint], float], form: str) -> str:
    """Return the chart of one figure over the last five minutes, newest on the right."""
    values = [value(point) for point in history]
    top = max(max(values), 1e-9)
    offset = HISTORY_LENGTH - len(values)
    points = ' '.join(
        f'{(offset + number) * _WIDTH / HISTORY_LENGTH:.1f},{_HEIGHT - 2 - each / top * (_HEIGHT - 6):.1f}'
        for number, each in enumerate(values)
    )
    label = f'{name}: now {form.format(values[-1])}, highest {form.format(max(values))}'
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}"><polyline points="{points}"/></svg><figcaption>{escape(label)}</figcaption>'
        '</figure>'
    )


def _frontends(snapshot: StatisticsSnapshot) -> str:
    return _table(
        ('Frontend', 'Connections', 'Total', 'Rejected', *_TRAFFIC_TITLES),
        ((name, figures.connections, figures.total_connections, figures.rejected_connections,
          *_traffic(figures.traffic)) for name, figures in snapshot.frontends.items()),
    )  # fmt: skip


def _backends(snapshot: StatisticsSnapshot) -> str:
    return _table(
        ('Backend', 'Queued', 'Rejected', *_TRAFFIC_TITLES),
        ((name, figures.queued, figures.rejected, *_traffic(figures.traffic))
         for name, figures in snapshot.backends.items()),
    )


def _servers(statuses: Iterable[ServerStatus]) -> str:
    rows = []
    for status in statuses:
        state = f'<span class="{status.state}">{status.state}</span>'
        kind = ' (backup)' if status.is_backup else ''
        rows.append(
            f'<tr><td>{escape(status.backend)}/{escape(status.name)}{kind}</td><td class="text">'
            f'{escape(status.address)}</td><td class="text">{state}</td><td>{format_duration(status.last_change)}</td>'
            f'<td>{status.weight}</td><td>{status.current_sessions}</td><td>{status.total_requests}</td>'
            f'<td>{status.errors}</td><td class="text">{escape(status.reason)}</td></tr>'
        )
    titles = ('Server', 'Address', 'State', 'Since', 'Weight', 'Sessions', 'Requests', 'Errors', 'Reason')
    return _head(titles) + ''.join(rows) + '</table>'


def _errors(lines: Sequence[str]) -> str:
    if not lines:
        return '<p>none</p>'
    return '<pre>' + '\n'.join(escape(line) for line in reversed(lines)) + '</pre>'


_TRAFFIC_TITLES = ('Requests', '2xx', '3xx', '4xx', '5xx', 'None', 'Retries', 'Bytes in', 'Bytes out', 'Mean ms')


def _traffic(traffic: TrafficFigures) -> tuple[object, ...]:
    mean = traffic.seconds / traffic.requests * 1000 if traffic.requests else 0.0
    responses = traffic.responses
    return (traffic.requests, *responses[2:], responses[0] + responses[1], traffic.retries, traffic.received_bytes,
            traffic.sent_bytes, f'{mean:.3g}')  # fmt: skip


def _table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    cells = (''.join(f'<td>{escape(str(cell))}</td>' for cell in row) for row in rows)
    return _head(titles) + ''.join(f'<tr>{row}</tr>' for row in cells) + '</table>'


def _head(titles: Iterable[str]) -> str:
    text = ('Address', 'State', 'Reason')
    cells = (f'<th class="text">{title}</th>' if title in text else f'<th>{title}</th>' for title in titles)
    return f'<table><tr>{"".join(cells)}</tr>'


def format_duration(seconds: float) -> str:
    """Format a duration in its two largest units, such as 1d 2h."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)):
        if rest >= size or (unit == 's' and not parts):
            parts.append(f'{rest // size}{unit}')
        rest %= size
    return ' '.join(parts[:2])
