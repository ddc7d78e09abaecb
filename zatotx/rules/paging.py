"""Filters, sorts and paginates the rows of a list, according to the fields `query`, `sort`, `paginate`, `cur_page` and
`page_size` of a get-list request, as in Zato 3. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from zatotx.model.errors import BadInput
from zatotx.schema.validation import parse_bool, parse_int

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1_000  # rows
_Row = Mapping[str, Any]
_T = TypeVar('_T')


class RequestedPage(NamedTuple):
    """The page that a get-list request asks for: the page number and the page size."""

    size: int  # rows
    number: int  # from 1


def parse_page_request(request: Mapping[str, Any]) -> RequestedPage | None:
    """Return the page that a get-list request asks for, or None if it asks for all rows. Raises BadInput."""
    if parse_bool(str(request.get('paginate', ''))) is not True:
        return None
    errors: list[tuple[str, str]] = []
    size = _number(request, 'page_size', DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, errors)
    number = _number(request, 'cur_page', 1, 1_000_000, errors)
    if errors:
        raise BadInput(errors)
    return RequestedPage(size, number)


def items_of_page(items: Sequence[_T], page: RequestedPage) -> tuple[Sequence[_T], dict[str, Any]]:
    """Return the items of a page, and the position of the page. If the list has fewer pages, the last page is
    returned."""
    pages = max(1, -(-len(items) // page.size))
    number = min(page.number, pages)
    meta = {
        'total': len(items), 'page_size': page.size, 'cur_page': number, 'num_pages': pages,
        'has_prev_page': number > 1, 'has_next_page': number < pages,
    }  # fmt: skip
    return items[(number - 1) * page.size : number * page.size], meta


def filter_sort_and_page(rows: Sequence[_Row], request: Mapping[str, Any]) -> Any:
    """Return the rows that match the field `query`, sorted by the column in the field `sort` (`-column` sorts in
    descending order). If the field `paginate` is set, return one page of the rows as `data`, and the position of the
    page as `_meta`. Raises BadInput."""
    page = parse_page_request(request)
    found = sort_rows(filter_rows(rows, str(request.get('query') or '')), str(request.get('sort') or ''))
    if page is None:
        return found
    data, meta = items_of_page(found, page)
    return {'data': data, '_meta': meta}


def filter_rows(rows: Sequence[_Row], query: str) -> list[_Row]:
    """Return the rows whose texts contain every word of the query. Case is ignored."""
    words = query.lower().split()
    return [row for row in rows if _matches(row, words)] if words else list(rows)


def _matches(row: _Row, words: Sequence[str]) -> bool:
    text = '\n'.join(value for value in row.values() if isinstance(value, str)).lower()
    return all(word in text for word in words)


def sort_rows(rows: list[_Row], sort: str) -> list[_Row]:
    """Return the rows sorted by a column: numbers before texts, and texts without regard to case. Rows that lack the
    column come last. If `sort` is empty, the order is not changed."""
    if not sort:
        return rows
    column = sort.removeprefix('-')
    return sorted(rows, key=lambda row: _sort_key(row.get(column)), reverse=sort.startswith('-'))


def _sort_key(value: Any) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float):
        return 0, float(value), ''
    return (2, 0.0, '') if value in (None, '') else (1, 0.0, str(value).casefold())


def _number(
    request: Mapping[str, Any], name: str, default: int, maximum: int, errors: list[tuple[str, str]]
) -> int:
    value = request.get(name)
    number = default if value in (None, '') else parse_int(str(value))
    if not isinstance(number, int) or not 0 < number <= maximum:
        errors.append((f'$.{name}', f'must be 1 to {maximum}'))
        return default
    return number
