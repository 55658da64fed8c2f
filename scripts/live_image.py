"""The image of the live page in the README: the built-in head plays the scripted animation, and the page drives it.

    python -m scripts.live_image VIDEO [-o docs/pictures/live.png] [--browser chromium]

VIDEO shows a face that may be published; that of the README's image is made by `mp2flame demo`. The browser gets what
the machine has left: without a graphics card it draws on the processor, which a user's browser does not.
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


def take_image(video: Path, image: Path, browser: str, seconds: float, at: float) -> None:
    """Open the page with a video, wait for some seconds, and take a screenshot.

    Args:
        video: plays in a loop.
        image: the `.png` to write.
        browser: the program.
        seconds: to wait.
        at: second of the video at which the image is taken.
    """
    with tempfile.TemporaryDirectory() as name:
        slow = Path(name) / "browser"
        slow.write_text(f'#!/bin/sh\nexec nice -n 19 {browser} "$@"\n')
        slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
        session = LiveSession(LiveSettings(source=str(video), port=0, data=Path(name)))
        thread = threading.Thread(target=session.run)
        thread.start()
        try:
            with sync_playwright() as play:
                chromium = play.chromium.launch(executable_path=str(slow), headless=True, args=_FLAGS)
                page = chromium.new_page(viewport={"width": 1280, "height": 760})
                page.goto(f"{session.page.address}?fixedDpr=1", timeout=120_000)
                page.get_by_text("frames per second").wait_for(timeout=120_000)
                page.get_by_text("Software WebGL rendering detected").wait_for(timeout=120_000)
                page.locator(".mantine-Notification-closeButton").click()
                page.wait_for_timeout(seconds * 1000)
                session.source.seek(at)
                page.wait_for_timeout(300)
                page.screenshot(path=image, timeout=120_000)
                chromium.close()
        finally:
            session.stop()
            thread.join()


def main() -> None:
    """Take the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/live.png"))
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--at", type=float, default=10.3)
    options = parser.parse_args()
    take_image(options.video, options.output, options.browser, options.seconds, options.at)


if __name__ == "__main__":
    main()
