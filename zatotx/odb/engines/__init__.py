"""Database dialects, which connect to databases, interpret errors, and provide the lock for migrations."""
