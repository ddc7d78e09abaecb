"""Screens of service statistics since the servers were started. They show the most used services, the slowest services,
and the services with the most errors, as a table and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Response
from zatotx.admin.tables import Column, page_of

COLUMNS = (
    Column('name', 'Service'), Column('calls', 'Calls', is_number=True), Column('errors', 'Errors', is_number=True),
    Column('mean', 'Mean ms', is_number=True), Column('p95', '95 % below ms', is_number=True),
    Column('share', 'Share of time', is_number=True), Column('in_flight', 'In flight', is_number=True),
)  # fmt: skip
TOP = 5  # services in each of the lists beside the table


async def show(request: PageRequest) -> Response:
    """Show the service statistics."""
    answers = await request.call_each('zato.stats.get-current')
    shows_internal = request.argument('internal') == '1'
    rows = merge_rows(answers, with_internal=shows_internal)
    values = {
        'title': 'Statistics', 'tab': 'now', 'table': page_of(rows, request), 'columns': COLUMNS, 'request': request,
        'servers': sorted(answer['server'] for answer in answers), 'shows_internal': shows_internal,
        'slowest': top(rows, 'mean'), 'most_used': top(rows, 'calls'), 'most_errors': top(rows, 'errors'),
    }  # fmt: skip
    return Page('statistics.html', values)


async def download(request: PageRequest) -> Response:
    """Download the service statistics as CSV."""
    rows = merge_rows(await request.call_each('zato.stats.get-current'), with_internal=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in COLUMNS], extrasaction='ignore')
    writer.writeheader()
    writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows)
    return FileDownload(text.getvalue().encode(), 'statistics.csv', 'text/csv; charset=utf-8')


def safe_cell(value: Any) -> Any:
    """Return a value that a spreadsheet does not interpret as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ('=', '+', '-', '@') else value


def merge_rows(answers: Sequence[Mapping[str, Any]], *, with_internal: bool) -> list[dict[str, Any]]:
    """Merge the statistics of all servers by service, the most used service first. The percentile of a service is the
    largest of the percentiles that the servers report."""
    merged: dict[str, dict[str, Any]] = {}
    for answer in answers:
        for row in answer['services']:
            if with_internal or not row['name'].startswith('zato.'):
                known = merged.setdefault(row['name'], {'name': row['name'], 'calls': 0, 'errors': 0, 'seconds': 0.0,
                                                        'in_flight': 0, 'p95': 0.0})  # fmt: skip
                for name in ('calls', 'errors', 'seconds', 'in_flight'):
                    known[name] += row[name]
                known['p95'] = max(known['p95'], round(row['p95'] * 1000, 2))
    total = sum(row['seconds'] for row in merged.values())
    for row in merged.values():
        row['mean'] = round(row['seconds'] * 1000 / row['calls'], 2)
        row['share'] = round(100 * row['seconds'] / total, 1) if total else 0.0
    return sorted(merged.values(), key=lambda row: -row['calls'])


def top(rows: Sequence[Mapping[str, Any]], column: str) -> list[tuple[str, Any, int]]:
    """Return the services with the highest values in a column. Each is returned with its name, its value, and the
    percentage of the highest value."""
    best = [row for row in sorted(rows, key=lambda row: -row[column]) if row[column]][:TOP]
    return [(row['name'], row[column], max(1, round(100 * row[column] / best[0][column]))) for row in best]


ROUTES = (
    ScreenRoute('GET', '/statistics', show),
    ScreenRoute('GET', '/statistics/csv', download),
)
