"""`make browser`: the web admin in a real Chromium, in more depth than the tests have time for."""
