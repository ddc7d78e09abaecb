"""Log files: buffered line writers, and the observer of the server's log."""
