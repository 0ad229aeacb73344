"""Headless Chromium for tests, and what they hold against a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from include.local_stack.settings import PROJECT_ROOT

SCREENSHOTS = PROJECT_ROOT / "artifacts" / "screenshots"
# How long a page may take to show what is expected on a machine with other work: it asks every few seconds.
PATIENCE_MS = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's headless Chromium."""
    program = shutil.which("chromium")
    assert program is not None, "make setup installs it"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, as which tests run in containers.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watch:
    """Notes what the pages of a context say on the console and ask of other hosts."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._url = url
        self.errors: list[str] = []
        self.others: list[str] = []
        context.on("console", self._note_console)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("request", self._note_request)

    def _note_console(self, message: ConsoleMessage) -> None:
        # An answer that is an error is told there too; tests look at answers themselves.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self._url, f"blob:{self._url}", "data:")):
            self.others.append(request.url)

    def assert_clean(self) -> None:
        """No script failed, nothing broke the page's policy, and no other host was asked."""
        assert self.errors == [], self.errors
        assert self.others == [], self.others


def screenshot(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture for whoever looks at the page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    if whole:
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"), full_page=whole)


def assert_accessible(page: Page) -> None:
    """What axe finds, with the elements."""
    found = Axe().run(page)
    violations = [
        f"{violation['id']}: {violation['help']}: {[node['html'][:160] for node in violation['nodes'][:3]]}"
        for violation in found.response["violations"]
    ]
    assert violations == [], "\n".join(violations)
