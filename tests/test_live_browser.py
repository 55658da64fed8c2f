"""The page in a real browser: opened, steered, recorded from, looked at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.formats import load_params
from mp2flame.live import LiveSession
from tests.live_parts import blendshape_mapping, running, settings, wait_for

pytest.importorskip("viser", reason="the viewer's extra is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine: apt-get install -y chromium")

# Without a graphics card, WebGL is drawn by SwiftShader.
_FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_PATIENCE = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=_CHROMIUM, headless=True, args=_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSession]:
    folder = tmp_path_factory.mktemp("live")
    blendshape_mapping(folder / "half.safetensors", gain=0.5)
    with running(settings(folder, mappings=tuple(_mappings(folder)))) as live:
        yield live


def _mappings(folder: Path) -> list[str]:
    return [str(blendshape_mapping(folder / "own.safetensors")), str(folder / "half.safetensors")]


@pytest.fixture
def tab(browser: Any, session: LiveSession) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1180, "height": 700}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.goto(session.page.address)
    page.get_by_text("Camera on").wait_for()
    yield page
    context.close()


def _head(tab: Any) -> np.ndarray:
    """(H, W, 3) the middle of the page, where the head is."""
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(tab.screenshot(clip={"x": 345, "y": 160, "width": 390, "height": 480})))
    return np.asarray(shot.convert("RGB")).astype(np.int16)


def _settled(tab: Any) -> np.ndarray:
    """The head once two looks at it agree."""
    before = _head(tab)
    for _ in range(40):
        tab.wait_for_timeout(250)
        now = _head(tab)
        if np.abs(now - before).mean() < 0.05:
            return now
        before = now
    raise AssertionError("the head does not come to rest")


def _open_sliders(tab: Any, session: LiveSession) -> None:
    box = tab.get_by_label("Camera on")
    if box.is_checked():
        box.click()
    wait_for(lambda: session._playback.by_hand, seconds=30)
    tab.get_by_role("tab", name="Sliders").click()


def _slider(tab: Any, label: str) -> Any:
    """The number field beside a slider."""
    row = tab.get_by_text(label, exact=True).locator("xpath=ancestor::*[.//input[not(@type='hidden')]][1]")
    return row.locator("input:not([type=hidden])").first


def _set(tab: Any, label: str, value: str) -> None:
    field = _slider(tab, label)
    field.fill(value)
    field.press("Enter")


def test_moving_jaw_open_opens_the_mouth(tab: Any, session: LiveSession) -> None:
    _open_sliders(tab, session)
    closed = _settled(tab)
    assert closed.std() > 20, "no head is seen"
    _set(tab, "jawOpen", "1")
    wait_for(lambda: session._desk._weights.max() == 1.0, seconds=30)
    opened = _settled(tab)
    changed = np.abs(opened - closed).sum(axis=2) > 60
    assert changed.mean() > 0.01
    # The mouth and the chin move, the eyes and the forehead do not.
    upper = int(0.4 * len(closed))
    assert changed[:upper].mean() < 0.02 * changed[upper:].mean()
    # Where the lips were, it is dark now.
    mouth = opened[changed]
    assert (mouth.sum(axis=1) < closed[changed].sum(axis=1)).mean() > 0.3
    _set(tab, "jawOpen", "0")
    again = _settled(tab)
    assert np.abs(again - closed).mean() < 0.5


def test_a_flame_slider_moves_the_head_and_the_blendshapes_move_it(tab: Any, session: LiveSession) -> None:
    _open_sliders(tab, session)
    rest = _settled(tab)
    _set(tab, "open (°)", "15")
    wait_for(lambda: session._desk._pose is not None, seconds=30)
    assert np.abs(_settled(tab) - rest).mean() > 0.3
    tab.get_by_role("button", name="All to zero").click()
    wait_for(lambda: session._desk._pose is None, seconds=30)
    assert np.abs(_settled(tab) - rest).mean() < 0.5


def test_neutral_record_stop_download_and_screenshot(tab: Any, session: LiveSession, tmp_path: Path) -> None:
    if session._playback.by_hand:
        tab.get_by_label("Camera on").click()
        wait_for(lambda: not session._playback.by_hand, seconds=30)
    tab.get_by_role("button", name="Neutral").click()
    tab.get_by_role("progressbar").first.wait_for()
    tab.get_by_text("Yours.").wait_for()
    tab.get_by_role("button", name="Record").click()
    tab.get_by_text("recording:").wait_for()
    take = session._recorder.take
    assert take is not None
    wait_for(lambda: take.n_frames > 20, seconds=30)
    tab.get_by_role("button", name="Stop").click()
    for kind in (".npz", ".csv", ".jsonl"):
        tab.get_by_label("Format").last.click()
        tab.get_by_role("option", name=kind, exact=True).click()
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename.endswith(kind)
        waiting.value.save_as(tmp_path / f"take{kind}")
        assert len(load_params(tmp_path / f"take{kind}")) == take.n_frames
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Screenshot").click()
    waiting.value.save_as(tmp_path / "shot.png")
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "shot.png").convert("L")).std() > 20


def test_two_browsers_show_the_same_and_a_second_head_stands_beside(
    tab: Any, browser: Any, session: LiveSession
) -> None:
    _open_sliders(tab, session)
    alone = _settled(tab)
    other = browser.new_page(viewport={"width": 1180, "height": 700})
    try:
        other.goto(session.page.address)
        other.get_by_text("Camera on").wait_for()
        assert np.abs(_settled(other) - alone).mean() < 1.0
        session.set_mapping("B", "half.safetensors")
        assert np.abs(_settled(tab) - alone).mean() > 5
        assert np.abs(_settled(other) - _settled(tab)).mean() < 1.0
        session.set_mapping("B", None)
        assert np.abs(_settled(tab) - alone).mean() < 1.0
    finally:
        other.close()


def test_wireframe_and_clay_are_seen(tab: Any, session: LiveSession) -> None:
    _open_sliders(tab, session)
    painted = _settled(tab)
    tab.get_by_role("tab", name="Live").click()
    tab.get_by_text("Wireframe").scroll_into_view_if_needed()
    tab.get_by_label("Wireframe").click()
    wired = _settled(tab)
    assert np.abs(wired - painted).mean() > 5
    tab.get_by_label("Wireframe").click()
    assert np.abs(_settled(tab) - painted).mean() < 1.0


def test_threads_of_the_browser_are_not_ours(session: LiveSession) -> None:
    # A hundred callbacks later, the page's pool is as large as it may be, and no larger.
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("ThreadPoolExecutor") for name in names) <= 32
