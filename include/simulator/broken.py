"""Broken records: every way to break the event rules, with the reason that a rejected record must get."""

from typing import Final, NamedTuple

_FIELDS: Final = {
    "bytes": b'"bytes":%(bytes)d',
    "timestamp": b'"timestamp":%(timestamp)d',
    "app": b'"app":"%(app)b"',
    "id": b'"id":"%(id)b"',
    "antenna_id": b'"antenna_id":"%(antenna_id)b"',
}
_VALID: Final = b"{" + b",".join(_FIELDS.values()) + b"}"


class BrokenLine(NamedTuple):
    """A reason for rejection and a record that earns it; no template is a record without a value."""

    reason: str
    template: bytes | None

    def line(self, *, size: int, event_time: int, app: bytes, device: bytes, antenna: bytes) -> bytes | None:
        """The Kafka value, made from the fields of a valid event."""
        if self.template is None:
            return None
        return self.template % {
            b"bytes": size,
            b"timestamp": event_time,
            b"app": app,
            b"id": device,
            b"antenna_id": antenna,
        }


def _with(field: str, value: bytes) -> bytes:
    """A valid record, but for this field's value."""
    return _VALID.replace(_FIELDS[field], b'"%b":%b' % (field.encode(), value))


def _without(field: str) -> bytes:
    kept = [text for name, text in _FIELDS.items() if name != field]
    return b"{" + b",".join(kept) + b"}"


BROKEN_LINES: Final = (
    BrokenLine("not_json", None),
    BrokenLine("not_json", b""),
    BrokenLine("not_json", b" "),
    BrokenLine("not_json", b"antenna %(antenna_id)b restarted"),
    BrokenLine("not_json", _VALID[:-1]),
    BrokenLine("not_json", _VALID.split(b',"id"')[0]),
    BrokenLine("not_json", _VALID + _VALID),
    BrokenLine("not_json", _VALID + b"\n" + _VALID),
    BrokenLine("not_json", _VALID + b"\0"),
    BrokenLine("not_json", b"\0\0\0\0\0\0\0\0"),
    BrokenLine("not_json", _with("antenna_id", b'""%(antenna_id)b"')),
    BrokenLine("not_json", _with("app", b'"\0%(app)b"')),
    BrokenLine("not_json", _with("app", b'"\xff\xfe%(app)b"')),
    BrokenLine("not_json", _with("bytes", b"NaN")),
    BrokenLine("not_json", _with("bytes", b"0%(bytes)d")),
    BrokenLine("not_an_object", b"[" + _VALID + b"]"),
    BrokenLine("not_an_object", b'"%(id)b"'),
    BrokenLine("not_an_object", b"%(bytes)d"),
    BrokenLine("not_an_object", b"true"),
    BrokenLine("not_an_object", b"null"),
    *(BrokenLine("missing_field", _without(field)) for field in _FIELDS),
    *(BrokenLine("null_field", _with(field, b"null")) for field in _FIELDS),
    BrokenLine("wrong_type", _with("bytes", b'"%(bytes)d"')),
    BrokenLine("wrong_type", _with("bytes", b"%(bytes)d.5")),
    BrokenLine("wrong_type", _with("bytes", b"true")),
    BrokenLine("wrong_type", _with("bytes", b"[%(bytes)d]")),
    BrokenLine("wrong_type", _with("timestamp", b'"%(timestamp)d"')),
    BrokenLine("wrong_type", _with("timestamp", b"%(timestamp)d.25")),
    BrokenLine("wrong_type", _with("timestamp", b"false")),
    BrokenLine("wrong_type", _with("app", b"%(bytes)d")),
    BrokenLine("wrong_type", _with("id", b"%(bytes)d")),
    BrokenLine("wrong_type", _with("antenna_id", b'{"id":"%(antenna_id)b"}')),
    # The 1 in front keeps bytes 0 from becoming -0, which is a valid zero.
    BrokenLine("negative", _with("bytes", b"-1%(bytes)d")),
    BrokenLine("negative", _with("timestamp", b"-%(timestamp)d")),
    BrokenLine("out_of_range", _with("bytes", b"9223372036854775808")),
    BrokenLine("out_of_range", _with("bytes", b"1%(bytes)d000000000000000000000000000000")),
    BrokenLine("out_of_range", _with("timestamp", b"%(timestamp)d000000000000")),
    BrokenLine("empty_field", _with("app", b'""')),
    BrokenLine("empty_field", _with("id", b'""')),
    BrokenLine("empty_field", _with("antenna_id", b'""')),
    BrokenLine("nul_character", _with("app", b'"%(app)b\\u0000"')),
    BrokenLine("nul_character", _with("id", b'"\\u0000%(id)b"')),
)
