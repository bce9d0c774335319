"""The local stack: one machine's NATS, PostgreSQL and roles, started, watched and stopped together."""
