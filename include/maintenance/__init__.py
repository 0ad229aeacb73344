"""Maintenance of the archive: leftovers, compaction, retention, integrity, replays of rejected records."""
