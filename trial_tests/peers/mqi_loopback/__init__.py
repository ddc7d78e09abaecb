"""A queue manager on this machine, and a client library with the interface of IBM MQ's: see README.md."""
