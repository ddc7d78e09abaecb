"""Takes the pictures of docs/admin/: `python -m trial_tests.support.admin_gallery`, on an environment with the demo."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from trial_tests.support.broker import Broker, create, remove

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / 'docs' / 'admin'
# file -> path, color scheme, width
SHOTS = {
    'home': ('/', 'light', 1280),
    'channels': ('/objects/channel_rest', 'light', 1280),
    'channel-form': ('/objects/channel_rest/create', 'dark', 1280),
    'history': ('/history', 'dark', 1280),
    'load-balancer': ('/load-balancer', 'light', 1280),
    'phone': ('/objects/channel_rest', 'light', 390),
}


def make_environment() -> Broker:
    """An environment with the web admin and the demo."""
    broker = create(servers=2, parts=('web-admin', 'load-balancer'), more=('--cluster-name', 'demo'))
    broker.start()
    examples = ROOT / 'examples'
    broker.deploy(examples / 'demo.py', examples / 'classic.py')
    broker.must('enmasse', str(broker.path), '--import', '--input', str(examples / 'demo.yaml'),
                env={'DEMO_PASSWORD': 'only for a picture'})
    return broker


def take(broker: Broker, browser: Browser) -> None:
    """Take all pictures."""
    base, user = f'http://127.0.0.1:{broker.admin_port()}', broker.credentials()['web_admin']
    for name, (path, scheme, width) in SHOTS.items():
        context = browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f'{base}/login')
        page.get_by_label('Username').fill(user['username'])
        page.get_by_label('Password').fill(user['password'])
        page.get_by_role('button', name='Log in').click()
        page.wait_for_url(f'{base}/')
        page.goto(base + path)
        for _ in range(100 if path == '/' else 0):  # the first page has figures of the last seconds
            broker.ask('GET', '/demo/hello/Ada')
            page.wait_for_timeout(80)
        page.screenshot(path=PICTURES / f'{name}.png')
        context.close()


def main() -> None:
    """Make an environment, take the pictures, remove it."""
    PICTURES.mkdir(exist_ok=True)
    broker = make_environment()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
            take(broker, browser)
            browser.close()
    finally:
        remove(broker)


if __name__ == '__main__':
    main()
