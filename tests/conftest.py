"""What tests of all kinds may ask for."""

from servers import database_url, locked_registry, postgres, postgres_url, redis_server, redis_url, registry

__all__ = ["database_url", "locked_registry", "postgres", "postgres_url", "redis_server", "redis_url", "registry"]
