"""A driver that has no file of the project but its own, as in YARN's cluster mode."""

import shutil
from typing import Any

from metering.bundle import zip_package


def test_the_package_and_the_password_come_as_files(jobs: Any) -> None:
    jobs.send([b'{"bytes":5,"timestamp":1600605904,"app":"SKYPE","id":"d","antenna_id":"a"}', b"broken"])
    password = jobs.folder / "db-password"
    password.write_text(f"{jobs.database.password}\n")
    command = jobs.streaming_command()
    script = next(word for word in command if word.endswith(".py"))
    alone = shutil.copy(script, jobs.folder)
    place = command.index(script)
    command[place : place + 1] = ["--py-files", str(zip_package()), str(alone)]
    environment = jobs.environment(ANTENNA_DB_PASSWORD_FILE=str(password))
    del environment["ANTENNA_DB_PASSWORD"]
    result = jobs.run([*command, "--available-now"], environment)
    assert result.returncode == 0, result.stdout
    assert jobs.query("SELECT sum(value)::bigint FROM bytes WHERE type = 'user_total_bytes'") == [(5,)]
    assert jobs.archive("rejected").num_rows == 1
