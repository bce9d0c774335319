"""The audit trail's tables have a number: a database that was filled by an older version is filled again."""

from events.base import derive
from projections.stores import audit_sql as sql

SHAPE, TABLES = 5, "pfrvdj25y3go"


def test_other_tables_are_another_shape() -> None:
    """Else the trail stands still where the older ones are: what is written to is not there."""
    made = derive(sql.tables(1), *sql.indexes(1), length=12)
    assert (sql.SHAPE, made) == (SHAPE, TABLES), "raise SHAPE in audit_sql.py and here, and name here what is made now"
