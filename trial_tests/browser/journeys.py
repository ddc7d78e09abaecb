"""Journeys that use the web admin in other ways than with a mouse in a browser with JavaScript: without JavaScript, and
by keyboard only. Each returns what is wrong."""

from __future__ import annotations

from functools import partial

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from trial_tests.browser.session import AdminBrowser
from trial_tests.support.rawhttp import ask
from trial_tests.support.waiting import until

LB_PORT = 11223
MAX_TABS = 400  # presses of the Tab key until everything of a page had the focus
# Of the element with the focus: its name, and what shows that it has the focus.
_FOCUS = '''() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {text: (one.getAttribute('aria-label') || one.textContent || one.name || one.id).trim().slice(0, 40),
          tag: one.tagName, id: one.id, isMarked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 1,
          isVisible: box.width > 1 && box.bottom > 0 && box.top < innerHeight && box.right > 0
            && box.left < innerWidth};
}'''


class Journey:
    """Collects what is wrong. Rejected forms are part of a journey, and no problem of the browser."""

    def __init__(self, admin: AdminBrowser) -> None:
        self.admin = AdminBrowser(admin.browser, admin.broker)
        self.mistakes: list[str] = []

    @property
    def wrong(self) -> list[str]:
        """What is wrong."""
        return self.mistakes + [each for each in self.admin.problems if '400' not in each]

    def expect(self, is_right: bool, what: str) -> None:
        """Note what is wrong unless it is right."""
        if not is_right:
            self.mistakes.append(what)

    def flash(self, page: Page, text: str) -> None:
        """Expect a message at the top of the page."""
        page.wait_for_load_state()
        shown = page.locator('.flash').all_inner_texts()
        self.expect(any(text in each for each in shown), f'{page.url}: no message {text!r}, but {shown}')


def without_javascript(admin: AdminBrowser, service: str) -> list[str]:
    """Log in, filter a list, create, edit and delete an object, take its deletion back, pause, resume and execute a
    job, and drain and resume a server, all by forms."""
    journey = Journey(admin)
    with journey.admin.page(java_script_enabled=False) as page:
        _change_an_object(journey, page)
        _run_a_job(journey, page, service)
        for action, done in (('Drain', 'is drained'), ('Resume', 'is in service again')):
            page.goto(f'{admin.base}/servers')
            page.get_by_role('row').filter(has_text='server1').get_by_role('link', name=action).click()
            page.get_by_role('button', name=action).click()
            journey.flash(page, done)
        page.get_by_role('button', name='Log out').click()
        journey.expect(page.url == f'{admin.base}/login', f'not logged out: {page.url}')
    return journey.wrong


def _change_an_object(journey: Journey, page: Page) -> None:
    page.goto(f'{journey.admin.base}/objects/rate_limit/create')
    page.get_by_label('Name', exact=True).fill('journey.limit')
    page.get_by_label('Limit', exact=True).fill('many')
    page.get_by_role('button', name='Create').click()
    journey.expect(page.locator('.wrong .error').count() == 1, 'a mistake is not shown')
    page.get_by_label('Limit', exact=True).fill('10/s')
    page.get_by_role('button', name='Create').click()
    journey.flash(page, 'journey.limit is created')
    page.locator('#filter').fill('journey.')
    page.get_by_role('button', name='Filter').click()
    journey.expect('1\N{EN DASH}1 of 1' in page.locator('.pager').inner_text(), 'the filter does nothing')
    page.get_by_role('link', name='Edit').click()
    page.get_by_label('Limit', exact=True).fill('20/s')
    page.get_by_role('button', name='Save').click()
    journey.flash(page, 'journey.limit is saved')
    page.get_by_role('row').filter(has_text='journey.limit').get_by_role('link', name='Delete').click()
    page.get_by_role('button', name='Delete').click()
    journey.flash(page, 'journey.limit is deleted')
    page.get_by_role('button', name='Undo').click()
    journey.flash(page, 'Restored')
    row = page.get_by_role('row').filter(has_text='journey.limit')
    row.get_by_role('checkbox').check()
    page.get_by_role('button', name='Delete selected').click()
    page.get_by_role('button', name='Delete').click()
    journey.flash(page, '1 of 1 done')


def _run_a_job(journey: Journey, page: Page, service: str) -> None:
    page.goto(f'{journey.admin.base}/objects/scheduler_job/create')
    page.get_by_label('Name', exact=True).fill('journey.job')
    page.get_by_label('Service', exact=True).fill(service)
    page.get_by_label('Job type', exact=True).select_option('interval_based')
    page.get_by_label('Hours', exact=True).fill('1')
    page.get_by_role('button', name='Create').click()
    journey.flash(page, 'journey.job is created')
    page.get_by_role('link', name='journey.job').click()
    for button, state in (('Pause', 'Paused'), ('Resume', 'Active')):
        page.get_by_role('button', name=button).click()
        page.goto(page.url)  # the state, and not the message
        journey.expect(page.locator('.head .state').inner_text() == state, f'the job is not {state.lower()}')
    page.get_by_role('button', name='Execute').click()
    journey.expect(page.locator('.flash').count() == 1, 'the execution is not confirmed')
    page.goto(f'{journey.admin.base}/scheduler')
    page.get_by_role('row').filter(has_text='journey.job').get_by_role('link', name='Delete').click()
    page.get_by_role('button', name='Delete').click()
    journey.flash(page, 'journey.job is deleted')


def by_keyboard(admin: AdminBrowser) -> list[str]:
    """Use the skip link, the search box, a form, and the menu of a narrow screen by keys only. Everything that has the
    focus is visible and marked, in the order of the page."""
    journey = Journey(admin)
    with journey.admin.page(viewport={'width': 1280, 'height': 800}, reduced_motion='reduce') as page:
        page.goto(f'{admin.base}/objects/rate_limit/create')
        page.keyboard.press('Tab')
        journey.expect(page.evaluate(_FOCUS)['text'] == 'Skip to the content', 'the first element is no skip link')
        page.keyboard.press('Enter')
        page.keyboard.press('Tab')
        journey.expect(page.evaluate('document.activeElement.closest("main") !== null'), 'the skip link does not skip')
        _create_by_keys(journey, page)
        for path in ('/', '/objects/channel_rest/create', '/load-balancer/edit'):
            page.goto(admin.base + path)
            _walk(journey, page, path)
        page.goto(f'{admin.base}/history')
        page.keyboard.press('/')
        journey.expect(page.evaluate(_FOCUS)['id'] == 'q', 'the key / does not lead to the search box')
        duration = page.evaluate('getComputedStyle(document.querySelector("button")).transitionDuration')
        journey.expect(duration == '0s', f'a transition of {duration} although reduced motion is preferred')
        page.set_viewport_size({'width': 390, 'height': 800})
        _open_menu(journey, page)
    return journey.wrong


def _create_by_keys(journey: Journey, page: Page) -> None:
    page.get_by_label('Name', exact=True).focus()
    page.keyboard.type('journey.keys')
    page.keyboard.press('Enter')
    page.locator('.wrong .error').first.wait_for()
    journey.expect(page.evaluate('document.activeElement.matches("[role=alert]")'), 'the mistakes have no focus')
    page.get_by_label('Limit', exact=True).focus()
    page.keyboard.type('5/s')
    page.keyboard.press('Enter')
    page.locator('.flash').wait_for()
    journey.flash(page, 'journey.keys is created')
    page.get_by_role('row').filter(has_text='journey.keys').get_by_role('link', name='Delete').press('Enter')
    page.get_by_role('button', name='Delete').press('Enter')
    page.locator('.flash').wait_for()
    journey.flash(page, 'journey.keys is deleted')


def _walk(journey: Journey, page: Page, path: str) -> None:
    """Press Tab until the focus leaves the page."""
    places: list[int] = [-1]
    while len(places) < MAX_TABS:
        page.keyboard.press('Tab')
        found = page.evaluate(_FOCUS)
        if found['tag'] == 'BODY':
            break
        place = page.evaluate('[...document.querySelectorAll("*")].indexOf(document.activeElement)')
        journey.expect(place > places[-1], f'{path}: {found["text"]!r} has the focus too late')
        journey.expect(found['isMarked'] and found['isVisible'], f'{path}: the focus on {found["text"]!r} is not seen')
        places.append(place)
    journey.expect(30 < len(places) < MAX_TABS, f'{path}: {len(places) - 1} elements had the focus')


def _has_focus(page: Page, text: str) -> bool:
    """Whether the element with this text has the focus, soon: the browser reports a new fragment after the key."""
    try:
        page.wait_for_function('text => document.activeElement.textContent.trim() === text', arg=text, timeout=5000)
    except PlaywrightTimeoutError:
        return False
    return True


def _open_menu(journey: Journey, page: Page) -> None:
    """The menu of a narrow screen keeps the focus, and gives it back."""
    page.goto(f'{journey.admin.base}/history')
    for key in ('Escape', 'Enter'):
        page.get_by_role('link', name='Menu', exact=True).press('Enter')
        journey.expect(_has_focus(page, 'Close menu'), 'the menu does not take the focus')
        page.keyboard.press('Shift+Tab')
        inside = page.evaluate('document.activeElement.closest("nav") !== null')
        journey.expect(inside, 'the menu does not keep the focus backwards')
        page.keyboard.press('Tab')
        journey.expect(page.evaluate(_FOCUS)['text'] == 'Close menu', 'the menu does not keep the focus forwards')
        page.keyboard.press(key)
        journey.expect(not page.locator('nav').is_visible(), f'{key} does not close the menu')
        journey.expect(page.evaluate(_FOCUS)['text'] == 'Menu', f'the focus is not given back after {key}')


def when_updates_fail(admin: AdminBrowser) -> list[str]:
    """What a page loads again by itself stays while that fails, with a mark, and goes on afterwards."""
    journey = Journey(admin)
    path = '**/load-balancer'
    with journey.admin.page() as page:
        page.goto(f'{admin.base}/load-balancer')
        stale = page.locator('#balanced[data-stale]')
        for route in (lambda one: one.fulfill(status=503, body='<h1>Away</h1>'), lambda one: one.abort()):
            page.route(path, route)
            stale.wait_for()
            journey.expect(page.locator('#balanced tbody tr').count() == 2, 'a failed update has replaced them')
            page.unroute(path)
            stale.wait_for(state='detached')
    return journey.mistakes  # the failures are what it is about


def restart_and_rename(admin: AdminBrowser) -> list[str]:
    """Rename a server and back, and restart all servers one after another, by their screens. The load balancer answers
    all requests meanwhile."""
    journey = Journey(admin)
    with journey.admin.page(viewport={'width': 1280, 'height': 800}) as page:
        for old, new in (('server2', 'journey'), ('journey', 'server2')):
            page.goto(f'{admin.base}/servers')
            page.get_by_role('row').filter(has_text=old).get_by_role('link', name='Rename').click()
            page.get_by_label('Name', exact=True).fill(new)
            page.get_by_role('button', name='Rename and restart').click()
            journey.flash(page, f'{old} is now {new}')
            until(partial(_is_running, journey.admin, page, new), f'the renamed {new}', 120)
        before = {part: set(admin.broker.pids(part)) for part in ('server1', 'server2')}
        page.goto(f'{admin.base}/servers')
        page.get_by_role('link', name='Rolling restart').click()
        page.get_by_role('button', name='Restart all').click()
        statuses: dict[int, int] = {}
        until(lambda: _is_restarted(admin, page, statuses), 'the rolling restart', 240)
        journey.expect(page.locator('#progress .state.on').count() == 2, page.locator('#progress').inner_text())
        journey.expect(set(statuses) == {200}, f'statuses of requests through the load balancer: {statuses}')
        for part, pids in before.items():
            journey.expect(not pids & set(admin.broker.pids(part)), f'{part} was not restarted')
    return journey.mistakes  # pages that load figures while their server restarts report that


def _is_running(admin: AdminBrowser, page: Page, name: str) -> bool:
    page.goto(f'{admin.base}/servers')
    row = page.get_by_role('row').filter(has_text=name)
    return row.count() == 1 and 'Running' in row.inner_text() and 'Up' in row.inner_text()


def _is_restarted(admin: AdminBrowser, page: Page, statuses: dict[int, int]) -> bool:
    status = ask(LB_PORT + admin.broker.offset, 'GET', '/zato/ping').status
    statuses[status] = statuses.get(status, 0) + 1
    return page.locator('#progress h2').inner_text().startswith('Ended')
