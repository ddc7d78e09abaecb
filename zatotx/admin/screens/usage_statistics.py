"""Screens of statistics over time: trends in a time range, summaries by day, week, month and year, the statistics of
one service, and the deletion of statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.charts import make_chart
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.screens.statistics import safe_cell
from zatotx.admin.usage_report import make_report, period_labels, table_cells, trend
from zatotx.rules.statistics.calendar_periods import (
    DAY,
    MONTH,
    PARTS,
    WEEK,
    YEAR,
    next_period_start,
    period_start,
    suitable_period_length,
)

RANGES = {'hour': ('Last hour', 3600), '3-hours': ('Last 3 hours', 3 * 3600), 'day': ('Last 24 hours', 86_400),
          'week': ('Last 7 days', 7 * 86_400), 'month': ('Last 30 days', 30 * 86_400),
          'year': ('Last 12 months', 365 * 86_400)}  # fmt: skip
SUMMARIES = {DAY: 'Day', WEEK: 'Week', MONTH: 'Month', YEAR: 'Year'}
TRENDS = 'zato.stats.trends.get-trends'
_ALL = 10_000  # services at most
_WRONG_RANGE = 'Start and end must be dates with times, the end later than the start.'


async def _rows(request: PageRequest, service: str, **payload: Any) -> list[dict[str, Any]]:
    with_internal = request.argument('internal') == '1'
    found: list[dict[str, Any]] = await request.call(service, {**payload, 'n': _ALL, 'n_type': 'usage',
                                                               'internal': with_internal})  # fmt: skip
    return found


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _range(request: PageRequest) -> tuple[float, float, str]:
    """Return start and stop of the range in the URL, and its name; '' for one that was typed. Raises ApiError."""
    first, last = request.argument('start'), request.argument('stop')
    if first or last:
        start, stop = (request.preferences.from_input(text) for text in (first, last))
        if start is None or stop is None or start >= stop:
            raise ApiError(400, [_WRONG_RANGE])
        return start, stop, ''
    name = request.argument('range', 'hour')
    if name not in RANGES:
        raise ApiError(404, ['There is no such range.'])
    return request.now - RANGES[name][1], request.now, name


async def show_trends(request: PageRequest) -> Response:
    """Show the statistics of a time range. They are compared with the previous range if the URL contains this
    option."""
    start, stop, name = _range(request)
    rows = await _rows(request, TRENDS, start=_iso(start), stop=_iso(stop))
    is_compared = request.argument('compare') == '1'
    before = []
    if is_compared:
        before = await _rows(request, TRENDS, start=_iso(2 * start - stop), stop=_iso(start))
    labels = period_labels(suitable_period_length(start, stop, request.now), start, stop, request.preferences)
    values = {
        'title': 'Statistics', 'tab': 'trends', 'report': make_report(rows, before, labels), 'request': request,
        'ranges': RANGES, 'range': name, 'is_compared': is_compared,
        'has_internal': request.argument('internal') == '1',
        'start': request.preferences.to_input(start), 'stop': request.preferences.to_input(stop),
        'ids': await _service_ids(request),
    }  # fmt: skip
    return Page('statistics_trends.html', values)


async def download_trends(request: PageRequest) -> Response:
    """Send the statistics of a time range as CSV."""
    start, stop, name = _range(request)
    rows = await _rows(request, TRENDS, start=_iso(start), stop=_iso(stop))
    return to_csv(rows, f'statistics-{name or "range"}.csv')


async def show_summary(request: PageRequest, period: str) -> Response:
    """Show the statistics of a day, week, month or year, compared with the previous period."""
    start, service = _period(request, period)
    previous, end = period_start(period, start - 1), next_period_start(period, start)
    rows = await _rows(request, service, start=_iso(start))
    before = await _rows(request, service, start=_iso(previous))
    labels = period_labels(PARTS[period], start, end, request.preferences)
    values = {
        'title': 'Statistics', 'tab': period, 'report': make_report(rows, before, labels), 'request': request,
        'period': period, 'heading': heading_of(period, start), 'date': _iso(start)[:10], 'is_compared': True,
        'previous': _iso(previous)[:10], 'next': _iso(end)[:10] if end < request.now else '',
        'has_internal': request.argument('internal') == '1', 'ids': await _service_ids(request),
    }  # fmt: skip
    return Page('statistics_summary.html', values)


async def download_summary(request: PageRequest, period: str) -> Response:
    """Send the statistics of a calendar period as CSV."""
    start, service = _period(request, period)
    return to_csv(await _rows(request, service, start=_iso(start)), f'statistics-{period}-{_iso(start)[:10]}.csv')


def _period(request: PageRequest, period: str) -> tuple[int, str]:
    """Return the start of the calendar period in the URL, and the service that has its figures. Raises ApiError."""
    if period not in SUMMARIES:
        raise ApiError(404, ['There is no such page.'])
    start = period_start(period, _date(request.argument('start'), request.now))
    return start, f'zato.stats.summary.get-summary-by-{period}'


def _date(text: str, default: float) -> float:
    """Return a date of the URL as Unix time. Raises ApiError."""
    if not text:
        return default
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        raise ApiError(400, [f'{text} is not a date such as 2026-11-30.']) from None


def heading_of(period: str, start: int) -> str:
    """Return the name of a calendar period, for use as a heading."""
    when = datetime.fromtimestamp(start, UTC)
    if period == DAY:
        return when.strftime('%A, %d %B %Y')
    if period == WEEK:
        return when.strftime('Week %V of %G, from %d %B')
    return when.strftime('%B %Y' if period == MONTH else '%Y')


async def _service_ids(request: PageRequest) -> Mapping[str, int]:
    """Return the ids of services by name, for links to their pages."""
    return {row['name']: row['id'] for row in await request.call('zato.service.get-list', {})}


async def show_service(request: PageRequest, service_id: int) -> Response:
    """Show the statistics of one service in a time range."""
    start, stop, name = _range(request)
    row = await request.call('zato.service.get-by-id', {'id': service_id})
    found = await request.call('zato.stats.get-by-service', {'service_id': service_id, 'start': _iso(start),
                                                             'stop': _iso(stop)})  # fmt: skip
    labels = period_labels(suitable_period_length(start, stop, request.now), start, stop, request.preferences)
    charts = [make_chart(title, unit, labels, trend(found, column, len(labels)))
              for title, unit, column in (('Calls', 'calls', 'usage_trend'), ('Mean duration', 'ms', 'mean_trend'))]
    values = {
        'title': f'{row["name"]}: statistics', 'tab': 'statistics', 'service': row, 'usage': found, 'plots': charts,
        'ranges': RANGES, 'range': name, 'request': request,
    }  # fmt: skip
    return Page('service_statistics.html', values)


def to_csv(rows: Sequence[Mapping[str, Any]], filename: str) -> FileDownload:
    """Convert rows to a CSV file that the browser downloads."""
    cells = list(table_cells(rows))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(cells[0]) if cells else ['service_name'])
    writer.writeheader()
    writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in cells)
    return FileDownload(text.getvalue().encode(), filename, 'text/csv; charset=utf-8')


# -- maintenance


async def show_maintenance(request: PageRequest) -> Response:
    """Show the form that deletes the statistics of a time range."""
    return _maintenance_page(request)


def _maintenance_page(request: PageRequest, messages: Sequence[str] = (), status: int = 200) -> Page:
    values = {'title': 'Statistics', 'tab': 'maintenance', 'messages': list(messages), 'request': request,
              'start': request.text('start'), 'stop': request.text('stop'), 'is_asked': False}  # fmt: skip
    return Page('statistics_maintenance.html', values, status)


async def delete(request: PageRequest) -> Response:
    """Delete the statistics of a time range, after a confirmation."""
    start, stop = (request.preferences.from_input(request.text(name)) for name in ('start', 'stop'))
    if start is None or stop is None or start >= stop:
        return _maintenance_page(request, [_WRONG_RANGE], 400)
    if request.text('confirmed') != 'yes':
        page = _maintenance_page(request)
        return Page(page.template, {**page.values, 'is_asked': True, 'begin': start, 'end': stop})
    try:
        done = await request.call('zato.stats.delete', {'start': _iso(start), 'stop': _iso(stop)})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _maintenance_page(request, [*error.messages, *error.field_errors.values()], error.status)
    return Redirect('/statistics/maintenance', f'The statistics of {done["deleted"]} periods are deleted.')


ROUTES = (
    ScreenRoute('GET', '/statistics/trends', show_trends),
    ScreenRoute('GET', '/statistics/trends/csv', download_trends),
    ScreenRoute('GET', '/statistics/summary/<period>', show_summary),
    ScreenRoute('GET', '/statistics/summary/<period>/csv', download_summary),
    ScreenRoute('GET', '/statistics/maintenance', show_maintenance),
    ScreenRoute('POST', '/statistics/maintenance', delete),
    ScreenRoute('GET', '/services/<int:service_id>/statistics', show_service),
)
