"""The picture of the live page in the README: the built-in head plays a scripted film, and the page drives it.

    python -m scripts.live_picture FILM [-o docs/pictures/live.png] [--browser chromium]

FILM shows a face that may be shown; that of the README's picture is what `mp2flame demo` films. The browser gets what
the machine has left: without a graphics card it draws on the processor, which a person's browser does not.
"""

from __future__ import annotations

import argparse
import shutil
import stat
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from mp2flame.live import LiveSession, LiveSettings

_FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def take(film: Path, picture: Path, browser: str, seconds: float, at: float) -> None:
    """Open the page on a film, watch it for some seconds, and keep what it looks like.

    Args:
        film: plays in a loop.
        picture: the `.png` to write.
        browser: the program.
        seconds: to watch.
        at: second of the film at which the picture is taken.
    """
    with tempfile.TemporaryDirectory() as name:
        patient = Path(name) / "browser"
        patient.write_text(f'#!/bin/sh\nexec nice -n 19 {browser} "$@"\n')
        patient.chmod(patient.stat().st_mode | stat.S_IXUSR)
        session = LiveSession(LiveSettings(source=str(film), port=0, data=Path(name)))
        road = threading.Thread(target=session.run)
        road.start()
        try:
            with sync_playwright() as play:
                chromium = play.chromium.launch(executable_path=str(patient), headless=True, args=_FLAGS)
                page = chromium.new_page(viewport={"width": 1280, "height": 760})
                page.goto(f"{session.page.address}?fixedDpr=1", timeout=120_000)
                page.get_by_text("frames per second").wait_for(timeout=120_000)
                page.get_by_text("Software WebGL rendering detected").wait_for(timeout=120_000)
                page.locator(".mantine-Notification-closeButton").click()
                page.wait_for_timeout(seconds * 1000)
                session.source.seek(at)
                page.wait_for_timeout(300)
                page.screenshot(path=picture, timeout=120_000)
                chromium.close()
        finally:
            session.stop()
            road.join()


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/live.png"))
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--at", type=float, default=10.3)
    options = parser.parse_args()
    take(options.film, options.output, options.browser, options.seconds, options.at)


if __name__ == "__main__":
    main()
