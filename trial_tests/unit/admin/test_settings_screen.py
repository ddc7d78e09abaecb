"""Settings of users and their own passwords, over a double of the cluster's API."""

from __future__ import annotations

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.cluster_api import ApiError

CHOSEN = {'time_zone': 'Asia/Tokyo', 'date_format': 'dd.mm.yyyy', 'time_format': '12 hours', 'theme': 'dark',
          'color': 'red'}  # fmt: skip


class SettingsScreenTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(1)
        self.log_in()

    def test_saved(self) -> None:
        """What is chosen is kept with the user, and applies from the next page on; the login page of this browser has
        the same colors."""
        self.assertEqual(self.location(self.post('/settings', CHOSEN)), '/settings')
        self.assertEqual(self.api.called('zato.admin.change-own-settings'), [CHOSEN])
        page = self.get('/settings').body
        self.assertIn('data-theme="dark" data-color="red"', page)
        self.assertIn('<option value="12 hours" selected>', page)
        self.assertIn('>01.01.1970 09:00:', page)
        self.post('/logout')
        self.assertIn('data-theme="dark" data-color="red"', self.get('/login').body)

    def test_another_browser(self) -> None:
        """A browser that the user has not used before has the user's settings after the login."""
        self.api.settings = CHOSEN
        self.cookies.clear()
        self.log_in()
        self.clock.advance(60)
        self.assertIn('data-color="red"', self.get('/settings').body)

    def test_mistakes(self) -> None:
        """An unknown time zone is named before anything is saved; what the cluster rejects is shown in place."""
        response = self.post('/settings', {**CHOSEN, 'time_zone': 'Warsaw'})
        self.assertEqual((response.code, self.api.called('zato.admin.change-own-settings')), (400, []))
        self.assertIn('value="Warsaw"', response.body)
        self.assertIn('is not the name of a time zone', response.body)
        self.api.answers['zato.admin.change-own-settings'] = ApiError(409, ['Only users of the web admin'])
        response = self.post('/settings', CHOSEN)
        self.assertEqual(response.code, 409)
        self.assertIn('Only users of the web admin', response.body)

    def test_password(self) -> None:
        """A new password ends the session; a mistake is beside its field, and nothing typed comes back."""
        form = {'password': 'old-one', 'password1': 'new-one', 'password2': 'other'}
        self.api.answers['zato.admin.change-own-password'] = ApiError(400, ['$.password2: is not the same'])
        response = self.post('/settings/password', form)
        self.assertEqual(response.code, 400)
        self.assertIn('<p class="error">is not the same</p>', response.body)
        self.assertNotIn('new-one', response.body)
        self.api.answers['zato.admin.change-own-password'] = {}
        self.assertEqual(self.location(self.post('/settings/password', form)), '/login')
        self.assertIn('Your password is changed', self.get('/login').body)
