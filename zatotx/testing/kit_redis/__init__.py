"""A Redis in memory for tests of services: the commands that `self.kvdb` has methods for, without a server."""
