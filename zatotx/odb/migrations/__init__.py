"""Schema migrations with alembic: one numbered script per migration in `versions/`."""
