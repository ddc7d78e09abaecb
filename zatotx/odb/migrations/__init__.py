"""Schema migrations with alembic. Each migration is one numbered script in the directory `versions/`."""
