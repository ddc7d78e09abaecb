"""HTML tables with server-side sorting, filtering and pagination. The state of a table is kept in the URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from zatotx.admin.page_request import PageRequest
from zatotx.admin.type_catalog import FieldDescription, TypeDescription
from zatotx.rules.paging import filter_sort_and_page

PAGE_SIZE = 50  # rows
MAX_COLUMNS = 4  # besides the name and the flag
_TELLING = ('host', 'url_path', 'url', 'address', 'username', 'method', 'data_format', 'members')


@frozen
class Column:
    """A column of a table."""

    name: str  # of the rows
    label: str
    is_sortable: bool = True
    is_number: bool = False


@frozen
class TablePage:
    """One page of a table: its rows and its position."""

    rows: Sequence[Mapping[str, Any]]
    total: int = 0
    number: int = 1
    pages: int = 1
    query: str = ''
    sort: str = ''

    @property
    def first(self) -> int:
        """The number of the first row."""
        return min(self.total, (self.number - 1) * PAGE_SIZE + 1)

    @property
    def last(self) -> int:
        """The number of the last row."""
        return min(self.total, self.number * PAGE_SIZE)

    def next_sort(self, column: str) -> str:
        """Return the sort order that a click on the heading of a column leads to."""
        return f'-{column}' if self.sort == column else column

    def direction(self, column: str) -> str:
        """Return the value of aria-sort of a column."""
        if self.sort.removeprefix('-') != column:
            return 'none'
        return 'descending' if self.sort.startswith('-') else 'ascending'


async def fetch_page(request: PageRequest, service: str, payload: Mapping[str, Any]) -> TablePage:
    """Fetch a page of rows from a get-list service. The URL of the request selects the page. Raises ApiError."""
    query, sort, number = request.argument('query'), request.argument('sort'), request.argument('page', '1')
    paging = {'paginate': True, 'page_size': PAGE_SIZE, 'cur_page': number if number.isdigit() else '1'}
    found = await request.call(service, {**payload, **paging, 'query': query, 'sort': sort})
    meta = found['_meta']
    return TablePage(found['data'], meta['total'], meta['cur_page'], meta['num_pages'], query, sort)


def page_of(rows: Sequence[Mapping[str, Any]], request: PageRequest) -> TablePage:
    """Filter, sort and paginate a complete list of rows according to the query parameters of the URL."""
    number = request.argument('page', '1')
    query, sort = request.argument('query'), request.argument('sort')
    found = filter_sort_and_page(rows, {'paginate': True, 'page_size': PAGE_SIZE, 'query': query, 'sort': sort,
                               'cur_page': number if number.isdigit() and int(number) else '1'})  # fmt: skip
    meta = found['_meta']
    return TablePage(found['data'], meta['total'], meta['cur_page'], meta['num_pages'], query, sort)


def columns_of(description: TypeDescription) -> list[Column]:
    """Return the columns for the list of an object type. They are the required fields, the references, and the fields
    that distinguish objects."""
    telling = [one for one in description.fields if one.name != 'name' and _is_telling(one)]
    return [Column(one.row_name, one.label) for one in telling[:MAX_COLUMNS]]


def _is_telling(one: FieldDescription) -> bool:
    if one.is_secret or one.fields:
        return False
    return one.is_required or one.name in _TELLING or (bool(one.reference) and one.kind != 'list')


@frozen
class ListView:
    """The parameters that the list template needs in addition to the rows."""

    columns: Sequence[Column]
    has_flag: bool = False
    actions: frozenset[str] = field(factory=frozenset)
