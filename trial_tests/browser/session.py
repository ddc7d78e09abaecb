"""A user's browser: pages that are logged in, and what went wrong in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from trial_tests.support.broker import Broker

TIMEOUT = 30_000  # milliseconds


class AdminBrowser:
    """A Chromium for one environment. `problems` are console errors, CSP reports and failed responses."""

    def __init__(self, browser: Browser, broker: Broker) -> None:
        self.browser, self.broker = browser, broker
        self.base = f'http://127.0.0.1:{broker.admin_port()}'
        self.problems: list[str] = []

    @contextmanager
    def context(self, **options: Any) -> Iterator[BrowserContext]:
        """A profile of its own that is logged in."""
        context = self.browser.new_context(**options)
        context.set_default_timeout(TIMEOUT)
        context.on('page', self._watch)
        try:
            self.log_in(context.new_page())
            yield context
        finally:
            context.close()

    @contextmanager
    def page(self, **options: Any) -> Iterator[Page]:
        """A page of a profile of its own that is logged in."""
        with self.context(**options) as context:
            yield context.pages[0]

    def log_in(self, page: Page) -> None:
        """Log in as the first user."""
        user = self.broker.credentials()['web_admin']
        self.enter(page, user['username'], user['password'])
        page.wait_for_url(f'{self.base}/')

    def enter(self, page: Page, username: str, password: str) -> None:
        """Send the form of the login page."""
        page.goto(f'{self.base}/login')
        page.get_by_label('Username', exact=True).fill(username)
        page.get_by_label('Password', exact=True).fill(password)
        page.get_by_role('button', name='Log in').click()

    def _watch(self, page: Page) -> None:
        page.on('console', lambda message: self.problems.append(f'{page.url}: {message.text}')
                if message.type in ('error', 'warning') else None)
        page.on('pageerror', lambda error: self.problems.append(f'{page.url}: {error}'))
        page.on('response', lambda response: self.problems.append(f'{response.url}: {response.status}')
                if response.status >= 400 else None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which('chromium')
    if program is None:
        raise AssertionError("There is no chromium: 'make peers' installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=['--no-sandbox'])
        try:
            yield browser
        finally:
            browser.close()
