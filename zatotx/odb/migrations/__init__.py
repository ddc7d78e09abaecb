"""The ODB's schema, step by step, by alembic: one numbered script a step in `versions/`."""
