"""Cron expressions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.cron import NICKNAMES, CronError, expand_nickname, parse_cron


class ParseTests(SynchronousTestCase):
    """What expressions mean."""

    def test_fields(self) -> None:
        """Fields are numbers, ranges, steps, lists and names; Sunday is 0 and 7."""
        parsed = parse_cron('5-15/5,40  */6 1,l * MON-fri'.replace(',l', ',31'))
        self.assertEqual(parsed.minutes, (5, 10, 15, 40))
        self.assertEqual(parsed.hours, (0, 6, 12, 18))
        self.assertEqual((parsed.days, parsed.weekdays), ((1, 31), (1, 2, 3, 4, 5)))
        self.assertEqual((parsed.is_any_hour, parsed.is_either_day), (True, True))
        self.assertEqual(parse_cron('0 0 * jan,DEC 0,7').weekdays, (0,))
        self.assertEqual(parse_cron('0 0 * * 5-7').weekdays, (0, 5, 6))
        self.assertEqual(parse_cron('0 0 * jan,DEC *').months, (1, 12))
        self.assertEqual(parse_cron('50/5 0 * * *').minutes, (50, 55))
        self.assertEqual(parse_cron('0 0 * * 5/1').weekdays, (5, 6))
        self.assertEqual(parse_cron('0 0 * * *').weekdays, (0, 1, 2, 3, 4, 5, 6))

    def test_nicknames(self) -> None:
        """Nicknames stand for five fields, in any case."""
        for name, fields in NICKNAMES.items():
            self.assertEqual(expand_nickname(name.upper()), fields)
            self.assertEqual(parse_cron(name), parse_cron(fields))
        self.assertEqual(expand_nickname(' 1  2 * * * '), '1 2 * * *')

    def test_mistakes(self) -> None:
        """Each mistake is named with its field."""
        for text, part in (
            ('* * * *', 'five fields'), ('* * * * * *', 'not 6'), ('', 'not 0'), ('@never', "'@never' is unknown"),
            ('60 * * * *', "minute '60' is not within 0 to 59"), ('* 24 * * *', 'hour'), ('* * 0 * *', 'day of month'),
            ('* * * 13 *', 'jan to dec'), ('* * * * 8', 'sun to sat'), ('a * * * *', "minute 'a'"),
            ('*/0 * * * *', 'step of 1 to 59'), ('*/60 * * * *', 'step'), ('5-1 * * * *', 'ends before it begins'),
            ('1, * * * *', "minute ''"), ('-1 * * * *', 'minute'), ('1-2-3 * * * *', 'minute'), ('٣ * * * *', 'minute'),
            ('0 0 31 2 *', 'never comes: Feb has no day 31'), ('0 0 30 2 *', 'Feb has no day 30'),
            ('0 0 31 4,6 *', 'Apr and Jun have no day 31'), ('0' * 1001, 'at most 1000'),
        ):  # fmt: skip
            error = self.assertRaises(CronError, parse_cron, text)
            self.assertIn(part, str(error), text)

    def test_possible_dates(self) -> None:
        """29 February comes, and an impossible day of the month does not matter where the weekday suffices."""
        for text in ('0 0 29 2 *', '0 0 31 * *', '0 0 31 2 1', '0 0 31 1,2 *'):
            parse_cron(text)
