"""Stores changed behind the back of their hashes, and made to look as older versions left them."""

from lorabound.sweeps import tables


def rewrite(store, *statements):
    """Change the runs of a store by SQL, and seal them again, as if they had been written so.

    Args:
        statements: SQL, or pairs of SQL and its values.
    """
    connection = store._connection
    with connection:
        for statement in statements:
            connection.execute(*((statement,) if isinstance(statement, str) else statement))
        names = tables.columns()[:-1]
        records = map(tuple, connection.execute(f"select {', '.join(names)} from runs").fetchall())
        hashes = [(tables.content_sha256(dict(zip(names, record, strict=True))), record[0]) for record in records]
        connection.executemany("update runs set sha256 = ? where key = ?", hashes)
        tables._reseal(connection, tables.Total().plus(one for one, _ in hashes))


def as_format(store, number, *columns):
    """Take from a store what came after an older format, and other ``columns`` as well."""
    connection = store._connection
    with connection:
        later = [column.split()[0] for after in range(number + 1, tables.FORMAT + 1) for column in tables._ADDED[after]]
        for column in dict.fromkeys([*columns, *later]):
            connection.execute(f"alter table runs drop column {column}")
        connection.execute("alter table about drop column sha256")
        connection.execute("drop table about_again")
        connection.execute("delete from about where name = 'seal'")
        connection.execute("update about set value = ? where name = 'format'", (str(number),))
