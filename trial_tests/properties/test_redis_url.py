"""Properties of Redis URLs: any text is parsed or rejected with a sentence."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.model.errors import StartError
from zatotx.redis.redis_url import parse_redis_url, resolve_url_paths

HERE = Path('/env/server1')
SCHEMES = ('redis', 'rediss', 'unix', 'redis+sentinel', 'rediss+sentinel', 'http', '')
LETTERS = st.sampled_from('abc019:/@?#&=%[],. é\0\n-')
HARMLESS = st.text(st.sampled_from('abcdefgh'), max_size=5)


class UrlTests(SynchronousTestCase):
    @holds(300, scheme=st.sampled_from(SCHEMES), rest=st.text(LETTERS, max_size=40))
    def test_an_address_or_a_sentence(self, scheme: str, rest: str) -> None:
        """A parsed URL can be displayed in one line, and making its paths absolute does not change it."""
        url = f'{scheme}://{rest}'
        try:
            address = parse_redis_url(url, HERE)
        except StartError as error:
            self.assertNotIn('\n', str(error))
            return
        self.assertNotIn('\n', str(address))
        self.assertEqual(parse_redis_url(resolve_url_paths(url, HERE), Path('/')), address)

    @holds(scheme=st.sampled_from(SCHEMES), before=HARMLESS, sign=st.sampled_from('/@:[],#'), after=HARMLESS)
    def test_never_the_password(self, scheme: str, before: str, sign: str, after: str) -> None:
        """Displayed text never contains a password, even with characters that should be encoded."""
        for secret in (f'HUNTER{sign}TWO', 'HUNTERTWO'):
            url = f'{scheme}://{before}:{secret}@{after}/m'
            try:
                shown = repr(parse_redis_url(url, HERE))
            except StartError as error:
                shown = str(error)
            if scheme != 'unix':  # there is no user in it: what looks like one is a part of the path
                self.assertFalse({word for word in ('HUNTER', 'TWO') if word in shown}, (url, shown))
