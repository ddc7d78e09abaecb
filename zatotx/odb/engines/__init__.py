"""Database dialects: connecting, the interpretation of errors, and the lock for migrations."""
