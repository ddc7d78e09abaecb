"""Database dialects: how to connect, the meaning of errors, and the lock around migrations."""
