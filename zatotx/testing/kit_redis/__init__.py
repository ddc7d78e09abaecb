"""An in-memory Redis for tests of services: the commands that `self.kvdb` has methods for, without a server."""
