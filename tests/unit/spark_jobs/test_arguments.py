"""The jobs' command lines: bad arguments exit 2 with one line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from metering.arguments import batch_parser, streaming_parser
from metering.database import conninfo

DATABASE = ["--storage-path", "s", "--jdbc-uri", "jdbc:postgresql://h:1/d", "--jdbc-user", "u",
            "--user-metadata-table", "user_metadata"]  # fmt: skip
STREAMING = ["--kafka-bootstrap-servers", "k:9092", "--topic", "devices", *DATABASE,
             "--bytes-table", "bytes", "--checkpoint-path", "c"]  # fmt: skip
BATCH = [*DATABASE, "--bytes-hourly-table", "bytes_hourly", "--user-quota-limit-table", "user_quota_limit"]


def test_defaults() -> None:
    arguments = streaming_parser().parse_args(STREAMING)
    assert (arguments.max_lateness, arguments.max_future) == (604_800, 600)
    assert arguments.kafka_options_file == {}
    assert arguments.refuse_offsets == []
    assert not arguments.available_now
    unlimited = streaming_parser().parse_args([*STREAMING, "--max-lateness", "unlimited"])
    assert unlimited.max_lateness is None


def test_refused_offsets() -> None:
    arguments = streaming_parser().parse_args([*STREAMING, "--refuse-offsets", "2:41, 0:7-9"])
    assert arguments.refuse_offsets == [(2, 41, 41), (0, 7, 9)]
    assert streaming_parser().parse_args([*STREAMING, "--refuse-offsets", "none"]).refuse_offsets == []


def test_hour_of_the_timestamp() -> None:
    arguments = batch_parser().parse_args([*BATCH, "--timestamp", "2021-09-26T17:00:00+01:00"])
    assert arguments.timestamp == datetime(2021, 9, 26, 16, tzinfo=UTC)


def test_kafka_options(tmp_path: Path) -> None:
    path = tmp_path / "kafka.properties"
    path.write_text('# secured\nsecurity.protocol = SASL_SSL\n\nsasl.jaas.config=a b="c";\n')
    arguments = streaming_parser().parse_args([*STREAMING, "--kafka-options-file", str(path)])
    assert arguments.kafka_options_file == {"security.protocol": "SASL_SSL", "sasl.jaas.config": 'a b="c";'}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--max-lateness", "-1"], "'-1' is not a positive whole number of seconds"),
        (["--max-future", "soon"], "'soon' is not a positive whole number of seconds"),
        (["--jdbc-uri", "postgresql://h/d"], "is not of the form jdbc:postgresql://host:port/database"),
        (["--jdbc-uri", "jdbc:postgresql://h/d?password=x"], "parameter 'password' is not known"),
        (["--kafka-options-file", "nowhere"], "'nowhere' cannot be read: No such file"),
        (["--refuse-offsets", "41"], "'41' is not of the form PARTITION:OFFSET"),
        (["--refuse-offsets", "0:9-7"], "'0:9-7' is not of the form PARTITION:OFFSET"),
        (["--refuse-offsets", "0:1,,0:2"], "'0:1,,0:2' is not of the form PARTITION:OFFSET"),
        (["--color"], "unrecognized arguments: --color"),
    ],
)
def test_bad_streaming_arguments(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        streaming_parser().parse_args([*STREAMING, *extra])
    output = capsys.readouterr().err
    assert caught.value.code == 2
    assert message in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("timestamp", ["2021-09-26T17:00:00", "yesterday", "1632672000"])
def test_bad_timestamp(timestamp: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        batch_parser().parse_args([*BATCH, "--timestamp", timestamp])
    output = capsys.readouterr().err
    assert caught.value.code == 2
    assert f"--timestamp: timestamp '{timestamp}'" in output
    assert output.count("\n") == 1


def test_a_missing_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        streaming_parser().parse_args(STREAMING[2:])
    assert caught.value.code == 2
    assert "required: --kafka-bootstrap-servers" in capsys.readouterr().err


def test_connection_settings() -> None:
    dsn = conninfo("jdbc:postgresql://a:1,b/d?sslmode=verify-full&sslrootcert=/ca.pem", "u", "p w'")
    settings = conninfo_to_dict(dsn)
    assert (settings["host"], settings["port"], settings["dbname"]) == ("a,b", "1,5432", "d")
    assert (settings["user"], settings["password"]) == ("u", "p w'")
    assert (settings["sslmode"], settings["sslrootcert"]) == ("verify-full", "/ca.pem")
