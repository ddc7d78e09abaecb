"""Follows every link, and looks at each sort of page: accessibility by axe, sideways scrolling, light and dark."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, Page

from trial_tests.browser.session import AdminBrowser

WIDTHS = (390, 768, 1280, 1440)
_TABLES = '''[...document.querySelectorAll('.card.table')].filter(each => each.scrollWidth > each.clientWidth + 1)
  .map(each => `${each.scrollWidth} px in ${each.clientWidth} px`)'''
MAX_URLS = 600
# Nothing but the contrast depends on the colors.
_OPTIONS = {'light': {'resultTypes': ['violations']},
            'dark': {'resultTypes': ['violations'], 'runOnly': ['color-contrast']}}  # fmt: skip
# Ends of paths that are files and not pages.
_FILES = ('/yaml', '/wsdl', '/csv', '/openapi', '.json', '/download')


def pattern_of(url: str) -> str:
    """The sort of a page: its path with numbers and names of parameters, but not their values."""
    parts = urlsplit(url)
    names = sorted({pair.partition('=')[0] for pair in parts.query.split('&') if pair})
    return re.sub(r'/\d+', '/N', parts.path) + (f'?{"&".join(names)}' if names else '')


class Crawl:
    """A walk through all links of the admin."""

    def __init__(self, admin: AdminBrowser, say: Callable[[str], None]) -> None:
        self.admin, self.say = admin, say
        self.urls: dict[str, int] = {}  # path with query -> status
        self.first_of: dict[str, str] = {}  # pattern -> the first page of it
        self.violations: list[str] = []
        self.scrolling: list[str] = []

    def run(self) -> None:
        """Follow all links, then look at one page of each sort."""
        with self.admin.page(viewport={'width': 1440, 'height': 900}) as page:
            self._follow(page)
            self.say(f'  {len(self.urls)} links, {len(self.first_of)} sorts of pages')
            for scheme in ('light', 'dark'):
                page.emulate_media(color_scheme=scheme)
                for number, (pattern, path) in enumerate(self._pages_for(scheme), 1):
                    self._examine(page, pattern, path, scheme)
                    if number % 20 == 0:
                        self.say(f'  {number} sorts of pages examined, {scheme}')

    def _pages_for(self, scheme: str) -> list[tuple[str, str]]:
        """Return a page of each sort. The pages of all object types have the same colors, so in dark one type
        suffices."""
        if scheme == 'light':
            return list(self.first_of.items())
        chosen = {re.sub('/objects/[a-z_]+', '/objects/TYPE', pattern): (pattern, path)
                  for pattern, path in self.first_of.items()}  # fmt: skip
        return list(chosen.values())

    def _follow(self, page: Page) -> None:
        waiting, seen = deque(['/']), {'/'}
        while waiting and len(self.urls) < MAX_URLS:
            path = waiting.popleft()
            if urlsplit(path).path.endswith(_FILES):
                self.urls[path] = page.context.request.get(self.admin.base + path).status
                if self.urls[path] >= 400:
                    self.admin.problems.append(f'{path}: {self.urls[path]}')
                continue
            try:
                response = page.goto(self.admin.base + path, wait_until='load')
            except Error as error:
                self.admin.problems.append(f'{path}: {error.message.splitlines()[0]}')
                continue
            self.urls[path] = 0 if response is None else response.status
            self.first_of.setdefault(pattern_of(path), path)
            for link in self._links(page):
                # Of pages that differ in their numbers or values only, a few stand for the others.
                if link not in seen and sum(pattern_of(each) == pattern_of(link) for each in seen) < 3:
                    seen.add(link)
                    waiting.append(link)

    def _links(self, page: Page) -> Iterator[str]:
        for href in page.eval_on_selector_all('a[href]', 'all => all.map(each => each.getAttribute("href"))'):
            parts = urlsplit(urljoin(page.url, href))
            if f'{parts.scheme}://{parts.netloc}' == self.admin.base and not parts.path.startswith('/static/'):
                yield parts.path + (f'?{parts.query}' if parts.query else '')

    def _check_widths(self, page: Page, path: str) -> None:
        for width in WIDTHS:
            page.set_viewport_size({'width': width, 'height': 900})
            used = page.evaluate('document.documentElement.scrollWidth')
            if used > width:
                self.scrolling.append(f'{path} needs {used} px at {width} px')
            if tables := page.evaluate(_TABLES):
                self.scrolling.append(f'{path} at {width} px: a table needs {", ".join(tables)}')

    def _examine(self, page: Page, pattern: str, path: str, scheme: str) -> None:
        page.goto(self.admin.base + path, wait_until='load')
        if scheme == 'light':
            self._check_widths(page, path)
        for violation in Axe().run(page, options=_OPTIONS[scheme]).response['violations']:
            targets = ', '.join(' '.join(map(str, node['target'])) for node in violation['nodes'][:3])
            self.violations.append(f'{pattern} ({scheme}): {violation["id"]}: {violation["help"]}: {targets}')
            self.say(f'  {self.violations[-1]}')
