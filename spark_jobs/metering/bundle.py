"""The package as a zip file, as Spark sends Python code to where it runs."""

import tempfile
import zipfile
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent


def zip_package() -> Path | None:
    """Zip the modules of this package; returns the file, or None where they come from such a file already."""
    if not PACKAGE.is_dir():
        return None
    archive = Path(tempfile.mkdtemp(prefix="antenna-")) / f"{PACKAGE.name}.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for module in sorted(PACKAGE.glob("*.py")):
            bundle.write(module, f"{PACKAGE.name}/{module.name}")
    return archive
