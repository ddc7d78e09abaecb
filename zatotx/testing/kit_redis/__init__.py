"""An in-memory Redis for tests of services. It implements the commands for which `self.kvdb` has methods, and needs no
server."""
