"""The live figures in the browser: an hour of events in a minute, and eight tabs."""

from __future__ import annotations

import time
from typing import NamedTuple

from playwright.sync_api import Page, Request

from trial_tests.browser.session import AdminBrowser
from trial_tests.support.waiting import until

EVENTS, SECONDS = 3_600, 60
TABS = 8
NONE = '\N{EN DASH}'  # what is shown before the first event
_SEND = '''([count, rate, revision]) => new Promise((resolve) => {
  const channel = new BroadcastChannel('zatotx-live');
  let sent = 0;
  const timer = setInterval(() => {
    for (let step = 0; step < rate / 10 && sent < count; step += 1) {
      sent += 1;
      const node = {state: sent % 2 ? 'running' : 'drained', is_leader: sent % 3 === 0, requests: sent / 7,
                    errors: sent % 5, mean: sent % 11, in_flight: sent % 13, stalls: sent};
      channel.postMessage(['figures', {nodes: {server1: node, server2: node}, requests: sent, errors: sent % 5,
                                       mean: sent % 11, in_flight: sent % 13, revision}]);
    }
    if (sent >= count) { clearInterval(timer); channel.close(); resolve(sent); }
  }, 100);
})'''


class PageSize(NamedTuple):
    """What a page takes, after garbage collection."""

    heap: float  # bytes
    nodes: float
    listeners: float


def page_size(page: Page) -> PageSize:
    """Collect garbage, and measure a page."""
    session = page.context.new_cdp_session(page)
    session.send('Performance.enable')
    for _ in range(3):
        session.send('HeapProfiler.collectGarbage')
    found = {one['name']: one['value'] for one in session.send('Performance.getMetrics')['metrics']}
    session.detach()
    return PageSize(found['JSHeapUsedSize'], found['Nodes'], found['JSEventListeners'])


def flood(admin: AdminBrowser) -> tuple[PageSize, PageSize, int]:
    """Send 3,600 events to the first page in 60 seconds; returns its size before and after, and the last event that it
    shows. The events come from another tab, by the channel that all tabs use."""
    with admin.context() as context:
        page, sender = context.pages[0], context.new_page()
        sender.goto(f'{admin.base}/settings')
        until(lambda: _shown(page) != NONE, 'the first figures')
        revision = int(page.locator('.dim [data-live=revision]').inner_text())  # another one loads the changes again
        sender.evaluate(_SEND, [120, EVENTS / SECONDS, revision])  # what is made once is there
        before = page_size(page)
        sender.evaluate(_SEND, [EVENTS, EVENTS / SECONDS, revision])
        shown = float(page.locator('.figure [data-live=requests]').inner_text().replace(',', ''))
        return before, page_size(page), int(shown)


def tabs(admin: AdminBrowser) -> tuple[int, int]:
    """Open eight tabs, and close the one with the stream; returns how many streams the eight had at most at a time,
    and how many tabs show figures when another one has taken over."""
    with admin.context() as context:
        streams: set[Request] = set()
        most = 0

        def begun(request: Request) -> None:
            nonlocal most
            if request.url.endswith('/live'):
                streams.add(request)
                most = max(most, len(streams))

        context.on('request', begun)
        for event in ('requestfinished', 'requestfailed'):
            context.on(event, lambda request: streams.discard(request))
        first = context.pages[0]
        with first.expect_request('**/live'):
            first.goto(f'{admin.base}/')  # again: its first stream may have begun before it could be counted
        others = [context.new_page() for _ in range(TABS - 1)]
        for page in others:
            page.goto(f'{admin.base}/')
        at_once = most
        first.close()
        for page in others:  # the figures change only if a tab has the stream
            page.locator('.figure [data-live=requests]').evaluate('element => { element.textContent = "old" }')
        end = time.monotonic() + 60
        while time.monotonic() < end and any(_shown(page) == 'old' for page in others):
            others[0].wait_for_timeout(250)
        return at_once, sum(_shown(page) not in ('old', NONE) for page in others)


def _shown(page: Page) -> str:
    return page.locator('.figure [data-live=requests]').inner_text()
