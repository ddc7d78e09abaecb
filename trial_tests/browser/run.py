"""`make browser`: examines the web admin in Chromium, prints a table, and takes the pictures of docs/admin/. Exits with
1 if a bar is missed.

    python -m trial_tests.browser.run [--only gallery,journeys,crawl,tabs,live,volume,restarts]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from playwright.sync_api import Error

from bench.figures import Row, table
from trial_tests.browser import environment, gallery, journeys, live, volume
from trial_tests.browser.crawl import Crawl
from trial_tests.browser.session import AdminBrowser, chromium
from trial_tests.support.broker import remove

PARTS = ('gallery', 'journeys', 'crawl', 'tabs', 'live', 'volume', 'restarts')
CHANNELS = 10_000
FIRST_PAINT = 300.0  # milliseconds
HEAP_GROWTH = 300_000  # bytes that may remain of 3,600 events


def say(text: str) -> None:
    """Print a progress message."""
    print(text, flush=True)


def measure(admin: AdminBrowser, parts: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of all selected parts."""
    if 'gallery' in parts:
        say('gallery: the pictures of docs/admin/')
        yield _count('pictures of docs/admin/ that could not be taken', gallery.take(admin))
    if 'journeys' in parts:
        say('journeys: without JavaScript, by keyboard, with failing updates')
        wrong = journeys.without_javascript(admin, 'browser.hello')
        yield _count('mistakes in a journey without JavaScript', wrong)
        yield _count('mistakes in a journey by keyboard only', journeys.by_keyboard(admin))
        yield _count('mistakes when live parts of a page cannot be loaded', journeys.when_updates_fail(admin))
    if 'crawl' in parts:
        say('crawl: every link, axe in light and dark, and four widths')
        environment.add_markup(admin.broker)
        crawl = Crawl(admin, say)
        crawl.run()
        failed = [path for path, status in crawl.urls.items() if status >= 400]
        yield _count(f'links of {len(crawl.urls)} that end in 4xx or 5xx', failed)
        yield _count(f'axe violations on {len(crawl.first_of)} sorts of pages, light and dark', crawl.violations)
        yield _count('pages that need sideways scrolling at 390, 768, 1280 or 1440 px', crawl.scrolling)
    if 'tabs' in parts:
        say('tabs: eight with one stream')
        streams, shown = live.tabs(admin)
        yield Row(what=f'streams of {live.TABS} tabs at a time', figure=str(streams), value=streams, bar=1)
        what = 'tabs that show figures after the one with the stream was closed'
        yield Row(what=what, figure=f'{shown}', value=shown, bar=live.TABS - 1, at_least=True)
    if 'live' in parts:
        say(f'live: {live.EVENTS} events in {live.SECONDS} s')
        before, after, last = live.flood(admin)
        what = 'last of 3,600 events that is shown'
        yield Row(what=what, figure=f'{last}', value=last, bar=live.EVENTS, at_least=True)
        growth = after.heap - before.heap
        figure = f'{before.heap / 1e6:.2f} to {after.heap / 1e6:.2f} MB'
        yield Row(what='heap after 3,600 events', figure=figure, value=growth / 1e3, bar=HEAP_GROWTH / 1e3, unit=' kB')
        for name, old, new in (('DOM nodes', before.nodes, after.nodes),
                               ('event listeners', before.listeners, after.listeners)):  # fmt: skip
            yield Row(what=f'{name} after 3,600 events', figure=f'{old:.0f} to {new:.0f}', value=new - old, bar=0)
    if 'volume' in parts:
        say(f'volume: {CHANNELS} channels')
        environment.add_channels(admin.broker, CHANNELS)
        for path, what in ((volume.LIST, 'list'), (f'{volume.LIST}?sort=-name&page=150', 'page 150, sorted'),
                           ('/', 'first page'), (f'{volume.LIST}/create', 'form')):  # fmt: skip
            paint = volume.first_paint(admin, path)
            yield Row(what=f'first paint with {CHANNELS:,} channels: {what}', figure=f'{paint:.0f} ms', value=paint,
                      bar=FIRST_PAINT, unit=' ms')  # fmt: skip
        wrong = volume.sort_filter_and_page(admin, CHANNELS)
        yield _count('mistakes in sorting, filtering, paging and searching', wrong)
    if 'restarts' in parts:
        say('restarts: renaming a server, and restarting all')
        wrong = journeys.restart_and_rename(admin)
        yield _count('mistakes in renaming a server and in a rolling restart under load', wrong)
    yield _count('console errors, CSP reports and failed responses in all of these', admin.problems)


def _count(what: str, found: Sequence[str]) -> Row:
    for each in found:
        say(f'  {each}')
    return Row(what=what, figure=str(len(found)), value=len(found), bar=0)


def main(arguments: list[str]) -> int:
    """Examine the admin; returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m trial_tests.browser.run', description=__doc__)
    parser.add_argument('--only', default=','.join(PARTS), help=f'some of {",".join(PARTS)}')
    parts = [part for part in parser.parse_args(arguments).only.split(',') if part]
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f'unknown: {", ".join(unknown)}; known are {", ".join(PARTS)}')
    broker = environment.make_environment()
    rows: list[Row] = []
    try:
        with chromium() as browser:
            for row in measure(AdminBrowser(browser, broker), parts):
                say(f'  {row.what}: {row.figure}')
                rows.append(row)
    except (AssertionError, Error) as error:  # what was measured before is shown
        rows.append(_count('parts that could not be measured', [str(error)]))
    finally:
        remove(broker)
    say(f'\n{table(rows)}')
    return 0 if all(row.met for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
