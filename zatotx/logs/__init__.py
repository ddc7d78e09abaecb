"""Log files: lines from the hot path, and the log of the server."""
