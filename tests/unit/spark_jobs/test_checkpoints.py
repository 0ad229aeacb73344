"""Every driver begins a checkpoint of its own."""

from pathlib import Path

from metering.checkpoints import begin_checkpoint


def test_older_checkpoints_are_removed(tmp_path: Path) -> None:
    for name in ("devices-epoch-1", "devices-epoch-2", "devices-epoch-9", "other-epoch-1", "devices-epoch-x"):
        (tmp_path / name / "offsets").mkdir(parents=True)
    assert begin_checkpoint(f"file://{tmp_path}", "devices", 3) == f"file://{tmp_path}/devices-epoch-3"
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {"devices-epoch-9", "other-epoch-1", "devices-epoch-x"}


def test_the_first_checkpoint(tmp_path: Path) -> None:
    path = str(tmp_path / "not-yet" / "there")
    assert begin_checkpoint(path, "devices", 1) == f"{path}/devices-epoch-1"
