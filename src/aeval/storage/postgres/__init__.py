"""PostgreSQL: a database that many processes and hosts share."""

from aeval.storage.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
