"""Single events for drills that need a certain one."""

import time


def event(timestamp: float | None = None, /, **fields: object) -> bytes:
    """A valid event of now, but for the fields given (raw JSON)."""
    values = {
        "timestamp": int(time.time() if timestamp is None else timestamp),
        "id": '"00000000-0000-0000-0000-000000000007"',
        "antenna_id": '"22222222-2222-2222-2222-222222222222"',
        "bytes": 17,
        "app": '"SKYPE"',
        **fields,
    }
    return ("{" + ",".join(f'"{name}":{value}' for name, value in values.items()) + "}").encode()
