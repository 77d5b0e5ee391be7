"""The schema, as a chain of SQL revisions that Alembic applies in order."""
