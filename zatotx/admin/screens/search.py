"""The screen that searches services and objects of all types by name."""

from __future__ import annotations

from urllib.parse import quote

from attrs import frozen

from zatotx.admin.application import ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Response

MAX_PER_TYPE = 20


@frozen
class Hit:
    """One search result."""

    title: str
    name: str
    url: str


async def show(request: PageRequest) -> Response:
    """Show the services and objects whose names or texts contain the search words."""
    query = request.argument('q').strip()
    hits: list[Hit] = []
    if query:
        rows = await request.call('zato.service.get-list', {'name_filter': query})
        hits += [Hit('Service', row['name'], f'/services/{row["id"]}') for row in rows[:MAX_PER_TYPE]]
        found = await request.call('zato.schema.get-matches', {'query': query, 'limit': MAX_PER_TYPE})
        for one in await request.catalog():
            rows = [row for row in found if row['type'] == one.key]
            hits += [Hit(one.title, row['name'], f'/objects/{quote(one.key)}/{row["id"]}') for row in rows]
    return Page('search.html', {'title': 'Search', 'query': query, 'hits': hits})


ROUTES = (ScreenRoute('GET', '/search', show),)
