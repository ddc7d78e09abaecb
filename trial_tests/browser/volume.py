"""A list of 10,000 objects in the browser."""

from __future__ import annotations

from statistics import median

from playwright.sync_api import Page

from trial_tests.browser.session import AdminBrowser
from trial_tests.support.waiting import until

PAINTS = 9
LIST = '/objects/channel_rest'
_PAINT = "performance.getEntriesByType('paint').find(each => each.name === 'first-contentful-paint')?.startTime || 0"


def first_paint(admin: AdminBrowser, path: str = LIST) -> float:
    """The median time until something of a list is seen, in milliseconds."""
    with admin.page(viewport={'width': 1440, 'height': 900}) as page:
        return median(_paint_of(page, admin.base + path) for _ in range(PAINTS))


def _paint_of(page: Page, url: str) -> float:
    page.goto(url, wait_until='load')
    paint: float = until(lambda: page.evaluate(_PAINT), 'the first paint')  # the policy forbids wait_for_function
    return paint


def sort_filter_and_page(admin: AdminBrowser, count: int) -> list[str]:
    """Use the list as a person does; returns what is wrong."""
    wrong = []
    with admin.page(viewport={'width': 1440, 'height': 900}) as page:
        page.goto(f'{admin.base}{LIST}?query=bulk.')
        if f'of {count:,}' not in page.locator('.pager').inner_text():
            wrong.append(f'the list does not have {count} rows: {page.locator(".pager").inner_text()}')
        page.get_by_role('columnheader', name='Name').get_by_role('link').click()
        page.get_by_role('columnheader', name='Name').get_by_role('link').click()
        first = page.locator('tbody tr').first.inner_text()
        if f'bulk.{count - 1:05}' not in first:
            wrong.append(f'the last name is not the first one of the reversed list, but {first!r}')
        page.get_by_role('link', name='Next').click()
        page.wait_for_url('**page=2**')
        page.locator('#filter').fill('bulk.00042')
        page.locator('.pager').get_by_text('1\N{EN DASH}1 of 1').wait_for()
        if 'query=bulk.00042' not in page.url:
            wrong.append(f'the filter is not in the URL: {page.url}')
        page.reload()
        if page.locator('tbody tr').count() != 1:
            wrong.append('the filter is lost when the page is loaded again')
        page.keyboard.press('/')
        page.keyboard.type('bulk.00077')
        page.keyboard.press('Enter')
        page.get_by_role('main').get_by_role('link', name='bulk.00077').wait_for()
    return wrong
