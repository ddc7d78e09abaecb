"""/zato/docs in a real Chromium: everything is there, nothing is fetched from elsewhere, nothing complains."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.chromium import Chromium, shared_browser
from trial_tests.support.documented import PASSWORD, USER, documented

SHOWN = "document.querySelectorAll('.operation').length"
SIZES = {'wide': (1280, 900), 'narrow': (390, 844)}
# Of every text on the page that is seen: how well it stands out (WCAG 2.1, 1.4.3), where that is not well enough.
CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = (node) => { for (; node; node = node.parentElement) {
    const found = rgb(getComputedStyle(node).backgroundColor); if (found[3]) return found; } return [255, 255, 255]; };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!own || !node.offsetParent || node.closest('.hidden, .skip, [hidden]') || node.disabled) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
})()
"""


class PageTestCase(SynchronousTestCase):
    """One browser for all."""

    @property
    def page(self) -> Chromium:
        return shared_browser()

    def opened(self, broker: Broker, waiting: str = SHOWN) -> Chromium:
        self.page.open(f'http://127.0.0.1:{broker.port()}/zato/docs')
        self.page.wait(waiting)
        return self.page


class OpenTests(PageTestCase):
    """The document is open to everybody."""

    def setUp(self) -> None:
        self.broker = documented()

    def test_all_is_there(self) -> None:
        """Every operation of the document, by its method and path; and in every width and colour without an error on
        the console, a request to anywhere else, text that cannot be read or a page that scrolls sideways."""
        api = self.broker.ask('GET', '/zato/openapi.json').json()
        wanted = sorted(one['operationId'] for item in api['paths'].values() for one in item.values())
        for width, height in SIZES.values():
            for dark in (False, True):
                self.page.shape(width, height, dark=dark)
                page = self.opened(self.broker)
                shown = page.run("[...document.querySelectorAll('.operation')].map((one) => one.id).sort()")
                self.assertEqual(shown, wanted)
                self.open_all(page)
                self.assertEqual(page.complaints, [])
                own = f'http://127.0.0.1:{self.broker.port()}/'
                self.assertEqual([url for url in page.requested if not url.startswith(own)], [])
                self.assertEqual(page.run(CONTRAST), [], (width, dark))
                self.assertLessEqual(page.run('document.documentElement.scrollWidth'), width)

    def open_all(self, page: Chromium) -> None:
        """Every operation, every answer, every model."""
        self.page.run("document.querySelectorAll('.operation').forEach((one) => { one.open = true; })")
        page.wait(f"document.querySelectorAll('.inside').length === {SHOWN}")
        for _ in range(3):  # models within models
            page.run("document.querySelectorAll('.inside details').forEach((one) => { one.open = true; })")
            page.run('new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))')

    def test_text_is_text(self) -> None:
        """What a service says of itself is never markup."""
        self.broker.serve('evil.py', EVIL)
        self.broker.configure(json.dumps({'channel_rest': [
            {'name': '<b>evil</b>', 'url_path': '/evil', 'service': 'evil.one', 'method': 'POST', 'security': None,
             'data_format': 'json'}]}))  # fmt: skip
        page = self.opened(self.broker)
        self.open_all(page)
        self.assertEqual(page.run("document.querySelectorAll('main img, main b, main script').length"), 0)
        self.assertIn('<img src=x', page.run('document.body.textContent'))
        self.assertEqual(page.complaints, [])

    def test_filter(self) -> None:
        """Words of name, path and text narrow the list, in the navigation too; nothing found is said."""
        page = self.opened(self.broker)
        self.typed(page, 'filter', 'places order')
        found = page.run("[...document.querySelectorAll('.operation:not([hidden])')].map((one) => one.id).sort()")
        self.assertEqual(found, ['shop.order', 'shop.order.by-id', 'xml.order'])
        self.assertEqual(page.run("document.querySelectorAll('#nav li:not([hidden])').length"), 3)
        self.typed(page, 'filter', 'nothing-like-it')
        self.assertIn('Nothing matches', page.run("document.getElementById('status').textContent"))

    def test_links(self) -> None:
        """A link to an operation opens it."""
        page = self.opened(self.broker)
        page.run("location.hash = '#shop.classic'")
        page.wait("document.getElementById('shop.classic').open")

    def test_try_it(self) -> None:
        """The form sends what the document shows, with the credentials given, and shows the answer; a wrong password
        is answered 401, without the browser asking; what was typed stays in no storage and no URL."""
        page = self.opened(self.broker)
        for password, status in (('wrong', '401'), (PASSWORD, '200')):
            self.assertEqual(self.sent(page, 'shop.order.by-id', USER, password), status)
        shown = page.run("document.querySelector('[id=\"shop.order.by-id\"] .result pre').textContent")
        self.assertEqual(json.loads(shown)['items'][0]['sku'], 'AA000')
        kept = page.run('JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])')
        self.assertNotIn(PASSWORD, kept)

    def test_try_keys(self) -> None:
        """A key goes where its definition has it; of several that let in, the one that was typed in is sent."""
        names = ('shop.by.header', 'shop.by.query')
        self.broker.configure(json.dumps({
            'security': [{'name': 'k1', 'type': 'apikey', 'header': 'X-Shop', 'password': 'one'},
                         {'name': 'k2', 'type': 'apikey', 'query': 'shop_key', 'password': 'two'}],
            'groups': [{'name': 'keys', 'members': ['k1', 'k2']}],
            'channel_rest': [{'name': name, 'url_path': f'/{name}', 'service': 'shop.find', 'method': 'GET',
                              'data_format': 'json', 'groups': ['keys']} for name in names],
        }))  # fmt: skip
        page = self.opened(self.broker)
        self.assertEqual(self.sent(page, names[0]), '401')
        for name, keys in zip(names, (('one', ''), ('', 'two')), strict=True):
            self.assertEqual(self.sent(page, name, *keys), '200')
        self.broker.logged('/shop.by.query?', 'shop_key=***')

    def test_a_login_in_the_url(self) -> None:
        """A page whose own URL carries a login works: its requests do not."""
        self.page.open(f'http://some:body@127.0.0.1:{self.broker.port()}/zato/docs')
        self.page.wait(SHOWN)
        self.assertEqual(self.sent(self.page, 'shop.find'), '200')
        self.assertEqual(self.page.complaints, [])
        self.assertEqual(sum('openapi.json' in url for url in self.page.requested), 1)

    def test_try_query_and_form(self) -> None:
        """Queries, lists, forms and XML too."""
        page = self.opened(self.broker)
        for name in ('shop.find', 'shop.find.form', 'shop.tree', 'shop.item', 'shop.many', 'xml.order', 'xml.short'):
            self.assertEqual(self.sent(page, name), '200', name)

    def sent(self, page: Chromium, name: str, user: str = '', password: str = '') -> str:
        """Send the form of an operation as it stands; the status of the answer."""
        one = f'document.getElementById({json.dumps(name)})'
        page.run(f'{one}.open = true')
        page.wait(f"{one}.querySelector('form.try') !== null")
        if user or password:
            fields = f"{one}.querySelectorAll('fieldset input')"
            page.run(f'{fields}[0].value = {json.dumps(user)}; {fields}[1].value = {json.dumps(password)}; 1')
        page.run(f"{one}.querySelector('.result').replaceChildren(); {one}.querySelector('form.try').requestSubmit()")
        found: str = page.wait(f"{one}.querySelector('.result .code')?.textContent")
        return found

    def typed(self, page: Chromium, field: str, text: str) -> None:
        page.run(f"(() => {{ const one = document.getElementById('{field}'); one.value = {json.dumps(text)}; "
                 "one.dispatchEvent(new Event('input')); })()")  # fmt: skip

    def test_colours(self) -> None:
        """The button goes from the system's colours to light, dark and back."""
        self.page.shape(1280, 900)
        page = self.opened(self.broker)
        grounds = []
        for _ in range(4):
            grounds.append(page.run('getComputedStyle(document.body).backgroundColor'))
            page.run("document.getElementById('theme').click()")
        self.assertEqual(grounds[0], grounds[1])
        self.assertNotEqual(grounds[1], grounds[2])
        self.assertEqual(grounds[3], grounds[0])

    def test_headings_and_labels(self) -> None:
        """One h1, every field has a label, every button a name: what a screen reader needs."""
        page = self.opened(self.broker)
        self.open_all(page)
        self.assertEqual(page.run("document.querySelectorAll('h1').length"), 1)
        bare = page.run("[...document.querySelectorAll('input, textarea')].filter((one) => !one.labels.length).length")
        self.assertEqual(bare, 0)
        unnamed = page.run("[...document.querySelectorAll('button')].filter((one) => !one.textContent.trim()).length")
        self.assertEqual(unnamed, 0)
        doubled = page.run("(() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id); "
                           'return ids.length - new Set(ids).size; })()')  # fmt: skip
        self.assertEqual(doubled, 0)


class LoginTests(PageTestCase):
    """As it is by default: the document is for admin.invoke."""

    def test_login(self) -> None:
        """The page asks for a password in a form of its own, not by the browser's prompt; a wrong one is said, the
        right one shows the document, and the page remembers it nowhere."""
        broker = create()
        self.addCleanup(remove, broker)
        broker.start()
        page = self.opened(broker, "!document.getElementById('login').hidden")
        self.assertEqual(broker.ask('GET', '/zato/openapi.json').status, 401)
        self.log_in(page, 'wrong')
        page.wait("document.getElementById('refused').textContent.includes('not known')")
        password = broker.credentials()['api']['password']
        self.log_in(page, password)
        page.wait("document.getElementById('login').hidden")
        self.assertIn('No REST channel is active', page.run("document.getElementById('status').textContent"))
        kept: Any = page.run('JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])')
        self.assertNotIn(password, kept)
        again = self.opened(broker, "!document.getElementById('login').hidden")
        self.assertEqual(again.run("document.getElementById('password').value"), '')

    def log_in(self, page: Chromium, password: str) -> None:
        page.run(f"document.getElementById('password').value = {json.dumps(password)}; "
                 "document.getElementById('login').requestSubmit()")  # fmt: skip


EVIL = '''
from zatotx import Service


class Evil(Service):
    """ <img src=x onerror=alert(1)> `<script>alert(1)</script>`

    <b>bold</b>
    """
    name = 'evil.one'
    input = '<script>x</script>', 'b'
    output = '<img>'

    async def handle(self):
        self.response.payload = {}
'''

