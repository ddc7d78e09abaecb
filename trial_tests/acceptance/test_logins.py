"""Who guesses passwords: learns nothing, is slowed down, and slows nobody else."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer, basic, connected, request_bytes
from trial_tests.support.served import PASSWORD, USER, one_server
from trial_tests.support.waiting import until


class LoginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()

    def login(self, fields: dict[str, str], source: str) -> tuple[Answer, float]:
        """The answer to a request with these fields from that address, and the seconds it took."""
        with connected(self.broker.port(), source=source) as connection:
            began = time.monotonic()
            connection.send(request_bytes('POST', '/acc/secure', fields, b'{}'))
            return connection.answer(), time.monotonic() - began

    def slow_guess(self, address: str, *, above: float) -> float:
        """Seconds that one more wrong login took, 0 where it took less than `above`."""
        answer, took = self.login(basic(USER, 'one more guess'), address)
        self.assertEqual(answer.status, 401)
        return took if took > above else 0.0

    def test_guessing_from_one_address_slows_down_for_that_address(self) -> None:
        """Twenty failures a minute are answered at once, what comes after waits; others do not notice, known here or
        not."""
        right = basic(USER, PASSWORD)
        self.assertEqual(self.login(right, '127.0.0.1')[0].status, 200)
        for number in range(20):
            self.assertEqual(self.login(basic(USER, f'guess {number}'), '127.0.0.66')[0].status, 401)
        slowed = until(lambda: self.slow_guess('127.0.0.66', above=1.5), 'guesses that wait', 60)
        for fields, source in ((right, '127.0.0.1'), (right, '127.0.0.68'), (basic(USER, 'other'), '127.0.0.67')):
            self.assertLess(min(self.login(fields, source)[1] for _ in range(4)), slowed, source)

    def test_an_unknown_user_costs_what_a_wrong_password_costs(self) -> None:
        """Time tells nobody which names exist: the quickest of several tries each, taken in turns, within a factor of
        three; where one cost nothing it would be more than ten."""
        known, unknown = [], []
        for number in range(15):
            known.append(self.login(basic(USER, f'guess {number}'), '127.0.0.71')[1])
            unknown.append(self.login(basic('nobody at all', f'guess {number}'), '127.0.0.72')[1])
        self.assertLess(max(min(known), min(unknown)) / min(min(known), min(unknown)), 3)

    def test_odd_credentials_are_401(self) -> None:
        """Nothing that can be written into Authorization is a fault, or lets anybody in."""
        odd = ('Basic', 'Basic ', 'Basic !!!', 'Basic Og==', 'Basic OnB3', 'Basic /////w==', 'Basic ' + 'QQ' * 3000,
               'Bearer x', 'basic', 'Basic YXBpLnVzZXI=', 'Basic AAAA', 'Basic YXBpLnVzZXI6AA==')
        for value in odd:
            answer, _ = self.login({'Authorization': value}, '127.0.0.73')
            self.assertEqual(answer.status, 401, value)
            self.assertTrue(answer.field('www-authenticate'))
