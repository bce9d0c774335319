"""A stretch of history in one file, that opens without a broker: to take home, to hand over, to decide again."""
