"""Takes the pictures of docs/admin/."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import Error, Page

from trial_tests.browser.session import AdminBrowser
from trial_tests.support.waiting import until

PICTURES = Path(__file__).resolve().parents[2] / 'docs' / 'admin'
# file -> path, color scheme, width
SHOTS = {
    'servers': ('/servers', 'light', 1280),
    'connectors': ('/connectors', 'light', 1280),
    'services': ('/services', 'light', 1280),
    'channels': ('/objects/channel_rest', 'light', 1280),
    'channel-form': ('/objects/channel_rest/create', 'dark', 1280),
    'scheduler': ('/scheduler', 'light', 1280),
    'history': ('/history', 'dark', 1280),
    'load-balancer': ('/load-balancer', 'light', 1280),
    'load-balancer-edit': ('/load-balancer/edit', 'light', 1280),
    'rolling-restart': ('/servers/restart', 'light', 1280),
    'phone': ('/objects/channel_rest', 'light', 390),
}
LOAD = 45  # seconds for which the first page shows figures
SUMMED = 300.0  # seconds within which calls are in the statistics
IMPORTED = '''channel_rest:
  - {name: customers, url_path: '/api/v2/customers/{name}', service: demo.hello}
  - {name: invoices, url_path: /api/invoices, service: demo.echo}
'''


def take(admin: AdminBrowser) -> list[str]:
    """Take all pictures; returns what went wrong. Those with figures come last."""
    PICTURES.mkdir(exist_ok=True)
    wrong = []
    for name, (path, scheme, width) in SHOTS.items():
        wrong += _take(admin, name, _at(admin, path), scheme, width)
    for name, steps in (('server', _server), ('service-invoke', _invoke), ('bulk-delete', _delete_several),
                        ('undo', _undo), ('import', _import), ('home', _home), ('home-dark', _home),
                        ('statistics', _statistics), ('service-statistics', _one_service)):  # fmt: skip
        scheme = 'dark' if name in ('home-dark', 'service-invoke') else 'light'
        wrong += _take(admin, name, partial(steps, admin), scheme)
    return wrong + _break_glass(admin)


def _take(admin: AdminBrowser, name: str, steps: Callable[[Page], None], scheme: str = 'light',
          width: int = 1280) -> list[str]:  # fmt: skip
    """Take a picture after some steps."""
    options = {'viewport': {'width': width, 'height': 800}, 'color_scheme': scheme}
    try:
        with admin.page(**options) as page:
            steps(page)
            page.wait_for_timeout(300)
            page.screenshot(path=PICTURES / f'{name}.png')
    except (AssertionError, Error) as error:
        return [f'{name}: {str(error).splitlines()[0]}']
    return []


def _at(admin: AdminBrowser, path: str) -> Callable[[Page], None]:
    def steps(page: Page) -> None:
        page.goto(admin.base + path)
        if '/servers' in path or path == '/connectors':
            page.wait_for_timeout(5000)  # the first figures

    return steps


def _home(admin: AdminBrowser, page: Page) -> None:
    """Call services until the first page has something to show."""
    for step in range(LOAD * 10):
        for _ in range(1 + step // 40 % 5):
            admin.broker.ask('GET', '/demo/hello/Ada', server=1 + step % 2)
        page.wait_for_timeout(60)


def _server(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/servers')
    page.get_by_role('main').get_by_role('link', name='server1', exact=True).click()


def _invoke(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/services')
    page.get_by_role('row').filter(has_text='demo.hello').get_by_role('link', name='Invoke').click()
    page.get_by_label('name', exact=True).fill('Ada')
    page.get_by_label('lang', exact=True).fill('fr')
    page.get_by_role('button', name='Invoke').click()
    page.locator('#answer pre').wait_for()


def _delete_several(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/objects/basic_auth')
    page.get_by_role('checkbox', name='Select all').check()
    page.get_by_role('button', name='Delete selected').click()
    page.get_by_role('button', name='Delete', exact=True).wait_for()


def _undo(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/objects/outgoing_rest')
    page.get_by_role('row').filter(has_text='Archive').get_by_role('link', name='Delete').click()
    page.get_by_role('button', name='Delete', exact=True).click()
    page.get_by_role('button', name='Undo').wait_for()


def _import(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/enmasse')
    page.get_by_label('YAML').fill(IMPORTED)
    page.get_by_role('button', name='Show what changes').click()
    page.get_by_role('button', name='Apply').wait_for()


def _statistics(admin: AdminBrowser, page: Page) -> None:
    def is_summed() -> bool:
        page.wait_for_timeout(3000)
        page.goto(f'{admin.base}/statistics/trends')
        return int(page.locator('.figures dd').first.inner_text().replace(',', '')) > 100

    until(is_summed, 'the calls in the statistics', SUMMED)


def _one_service(admin: AdminBrowser, page: Page) -> None:
    page.goto(f'{admin.base}/statistics/trends')
    page.get_by_role('link', name='demo.hello').first.click()


def _break_glass(admin: AdminBrowser) -> list[str]:
    """The load balancer while no server answers."""
    parts = ('server1', 'server2')
    for part in parts:
        admin.broker.kill(part)
    account = admin.broker.credentials()['break_glass']
    quiet = AdminBrowser(admin.browser, admin.broker)  # the failures are what it is about
    try:
        context = admin.browser.new_context(viewport={'width': 1280, 'height': 800})
        page = context.new_page()
        quiet.enter(page, account['username'], account['password'])
        page.get_by_role('heading', name='Load balancer').wait_for()
        page.screenshot(path=PICTURES / 'break-glass.png')
        context.close()
    except Error as error:
        return [f'break-glass: {error.message.splitlines()[0]}']
    finally:
        admin.broker.start()
        until(lambda: all(admin.broker.ask('GET', '/zato/ready', server=number).status == 200 for number in (1, 2)),
              'the servers after the picture', 120)  # fmt: skip
    return []
