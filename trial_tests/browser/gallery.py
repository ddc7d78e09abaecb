"""Takes the pictures of docs/admin/."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Error, Page

from trial_tests.browser.session import AdminBrowser

PICTURES = Path(__file__).resolve().parents[2] / 'docs' / 'admin'
# file -> path, color scheme, width
SHOTS = {
    'home': ('/', 'light', 1280),
    'home-dark': ('/', 'dark', 1280),
    'servers': ('/servers', 'light', 1280),
    'channels': ('/objects/channel_rest', 'light', 1280),
    'channel-form': ('/objects/channel_rest/create', 'dark', 1280),
    'history': ('/history', 'dark', 1280),
    'load-balancer': ('/load-balancer', 'light', 1280),
    'load-balancer-edit': ('/load-balancer/edit', 'light', 1280),
    'phone': ('/objects/channel_rest', 'light', 390),
}
LOAD = 14  # seconds for which the first page shows figures


def take(admin: AdminBrowser) -> list[str]:
    """Take all pictures; returns what went wrong."""
    PICTURES.mkdir(exist_ok=True)
    wrong = []
    for name, (path, scheme, width) in SHOTS.items():
        options = {'viewport': {'width': width, 'height': 800}, 'color_scheme': scheme}
        try:
            with admin.page(**options) as page:
                page.goto(admin.base + path)
                if path == '/':
                    _make_load(admin, page)
                page.screenshot(path=PICTURES / f'{name}.png')
        except Error as error:
            wrong.append(f'{name}: {error.message.splitlines()[0]}')
    return wrong


def _make_load(admin: AdminBrowser, page: Page) -> None:
    """Call services until the first page has something to show."""
    for step in range(LOAD * 10):
        for _ in range(1 + step // 10 % 5):
            admin.broker.ask('GET', '/demo/hello/Ada', server=1 + step % 2)
        page.wait_for_timeout(60)
