"""Users from a CSV file into a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.provisioner import user_metadata
from include.provisioner.user_metadata import UserMetadataError, load_user_metadata
from tests.conftest import Database

SHIPPED = Path(user_metadata.__file__).with_name("user_metadata.csv")
HEADER = "id,name,email,quota\n"


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.url) as connection:
        yield connection


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


def rows(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT id, name, email, quota, xmin::text FROM user_metadata ORDER BY id"
    ).fetchall()


def test_loads_the_twenty_users(connection: psycopg.Connection) -> None:
    assert load_user_metadata(connection, SHIPPED) == (20, 0, 0)
    loaded = rows(connection)
    assert len(loaded) == 20
    assert loaded[0][:4] == ("00000000-0000-0000-0000-000000000001", "andres", "andres@gmail.com", 200000)


def test_second_load_touches_no_row(connection: psycopg.Connection) -> None:
    load_user_metadata(connection, SHIPPED)
    connection.commit()
    before = rows(connection)
    assert load_user_metadata(connection, SHIPPED) == (0, 0, 20)
    assert rows(connection) == before


def test_changed_rows_are_updated_new_ones_inserted_missing_ones_kept(
    connection: psycopg.Connection, csv_file: Path
) -> None:
    csv_file.write_text(HEADER + "1,ana,ana@x.org,10\n2,ben,ben@x.org,20\n3,cyd,cyd@x.org,30\n")
    load_user_metadata(connection, csv_file)
    csv_file.write_text(HEADER + "1,ana,ana@x.org,11\n2,ben,ben@x.org,20\n4,dan,ana@x.org,0\n")
    assert load_user_metadata(connection, csv_file) == (1, 1, 1)
    assert [row[:4] for row in rows(connection)] == [
        ("1", "ana", "ana@x.org", 11),
        ("2", "ben", "ben@x.org", 20),
        ("3", "cyd", "cyd@x.org", 30),
        ("4", "dan", "ana@x.org", 0),
    ]


def test_works_in_autocommit_too(database: Database) -> None:
    with database.connect() as connection:
        assert load_user_metadata(connection, SHIPPED) == (20, 0, 0)
        assert load_user_metadata(connection, SHIPPED) == (0, 0, 20)


def test_reads_spreadsheet_exports(connection: psycopg.Connection, csv_file: Path) -> None:
    """A byte order mark, CRLF, quotes, another order of columns, one more column, the largest quota."""
    csv_file.write_bytes(
        "\ufeffquota,id,email,name,team\r\n"
        '9223372036854775807, 1 ,ö@x.org,"Ömer, ""the"" first",a\r\n'.encode()
    )
    load_user_metadata(connection, csv_file)
    assert rows(connection)[0][:4] == ("1", 'Ömer, "the" first', "ö@x.org", 2**63 - 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEADER + ",ana,a@x.org,1\n", "line 2: id is empty; it must be given"),
        (HEADER + "1,ana,  ,1\n", "line 2: email is empty; it must be given"),
        (HEADER + "1,a,a@x.org,1\n1,b,b@x.org,2\n", "line 3: id '1' stands on line 2 already; each id once"),
        (HEADER + "1,a,a@x.org,-1\n", "line 2: quota '-1' must be a whole number of bytes per hour, 0 to"),
        (HEADER + "1,a,a@x.org,1.5\n", "line 2: quota '1.5' must be a whole number"),
        (HEADER + "1,a,a@x.org,many\n", "line 2: quota 'many' must be a whole number"),
        (HEADER + "1,a,a@x.org,\n", "line 2: quota '' must be a whole number"),
        (HEADER + "1,a,a@x.org\n", "line 2: quota '' must be a whole number"),
        (HEADER + "1,a,a@x.org,١٢\n", "line 2: quota '١٢' must be a whole number"),
        (HEADER + "1,a,a@x.org,9223372036854775808\n", "quota '9223372036854775808' must be a whole number"),
        (HEADER + "1,a,a@x.org,1,2\n", "line 2: '2' is more than the header names"),
        (HEADER + "1,a\0,a@x.org,1\n", "line 2: name 'a\\x00' must not contain a NUL character"),
        (
            "id,name,mail,quota\n1,a,a@x.org,1\n",
            "line 1 lacks email: the header must name id, name, email, quota",
        ),
        ("", "line 1 lacks id, name, email, quota"),
        (HEADER + '1,"a,a@x.org,1\n', "is no CSV file in UTF-8"),
        (HEADER.encode() + b"1,\xff,a@x.org,1\n", "is no CSV file in UTF-8"),
    ],
)
def test_bad_files_change_nothing_and_say_where(
    connection: psycopg.Connection, csv_file: Path, text: str | bytes, complaint: str
) -> None:
    load_user_metadata(connection, SHIPPED)
    connection.commit()
    before = rows(connection)
    csv_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserMetadataError) as raised:
        load_user_metadata(connection, csv_file)
    assert complaint in str(raised.value)
    assert str(csv_file) in str(raised.value)
    assert rows(connection) == before


def test_every_broken_row_is_named(connection: psycopg.Connection, csv_file: Path) -> None:
    csv_file.write_text(HEADER + "".join(f"{number},a,,x\n" for number in range(30)))
    with pytest.raises(UserMetadataError) as raised:
        load_user_metadata(connection, csv_file)
    message = str(raised.value)
    assert "60 problem(s)" in message
    assert "line 11: quota 'x'" in message
    assert "and 40 more" in message


def test_missing_file_is_named(connection: psycopg.Connection, tmp_path: Path) -> None:
    with pytest.raises(
        UserMetadataError, match=r"users\.csv: cannot be read: No such file.*antenna_user_metadata_csv"
    ):
        load_user_metadata(connection, tmp_path / "users.csv")
