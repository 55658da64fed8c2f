"""The page in a real browser: opened, steered, recorded from, looked at."""

from __future__ import annotations

import io
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mp2flame.formats import load_params
from mp2flame.live import LiveSession
from tests.helpers.fakes import ListSink
from tests.helpers.live import blendshape_mapping, performance_recording, running, settings, wait_for
from tests.helpers.streams import free_port

pytest.importorskip("viser", reason="the viewer's extra is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine: apt-get install -y chromium")

# Without a graphics card, WebGL is drawn by SwiftShader.
_FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_PATIENCE = 120_000


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


def _address(session: LiveSession) -> str:
    """The page, always drawn with a quarter of its pixels: by itself it draws as many as the machine has time for."""
    return f"{session.page.address}?fixedDpr=0.5"


@pytest.fixture
def tab(browser: Any, session: LiveSession) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1180, "height": 700}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.goto(_address(session))
    page.get_by_text("Camera on").wait_for()
    yield page
    context.close()


def _head(tab: Any) -> np.ndarray:
    """(H, W, 3) the middle of the page, where the head is."""
    from PIL import Image

    shot = Image.open(io.BytesIO(tab.screenshot(clip={"x": 345, "y": 160, "width": 390, "height": 480})))
    return np.asarray(shot.convert("RGB")).astype(np.int16)


def _close(reference: np.ndarray) -> Callable[[np.ndarray], bool]:
    """Whether a picture shows what another one does; a mouth or an eye that moves changes it by more."""
    return lambda picture: bool(np.abs(picture - reference).mean() < 0.5)


def _until(tab: Any, shows: Callable[[np.ndarray], bool], *, looks: int = 2) -> np.ndarray:
    """The head once it shows something, and still does at so many more looks: a busy machine draws part by part."""
    before, still = _head(tab), 0
    deadline = time.monotonic() + _PATIENCE / 1000
    while time.monotonic() < deadline:
        tab.wait_for_timeout(250)
        now = _head(tab)
        still = still + 1 if shows(now) and np.abs(now - before).mean() < 0.05 else 0
        if still == looks:
            return now
        before = now
    raise AssertionError("the head never comes to rest in the state that is waited for")


def _at_rest(tab: Any, session: LiveSession) -> np.ndarray:
    """The head as the session has it now, once it does not move in this browser."""
    frames = ListSink()
    session.pipeline.add_sink(frames)
    # The frame on its way may be older than what the test did last; those after it are not.
    wait_for(lambda: len(frames.frames) > 2, seconds=60)
    session.pipeline.remove_sink(frames)
    return _until(tab, lambda picture: bool(picture.std() > 20), looks=4)


def _switch_camera(tab: Any, session: LiveSession, *, on: bool) -> None:
    """Click until the session agrees: a click while the page still shows an older state does the opposite."""
    box = tab.get_by_label("Camera on")

    def switched() -> bool:
        if session.state.camera_on != on and box.is_checked() != on:
            box.click()
        return session.state.camera_on == on

    wait_for(switched, seconds=60)


def _open_sliders(tab: Any, session: LiveSession) -> None:
    _switch_camera(tab, session, on=False)
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
    closed = _at_rest(tab, session)
    _set(tab, "jawOpen", "1")
    wait_for(lambda: session.page.controls.sliders.read_weights().max() == 1.0, seconds=60)
    opened = _until(tab, lambda picture: bool((np.abs(picture - closed).sum(axis=2) > 60).mean() > 0.01), looks=4)
    changed = np.abs(opened - closed).sum(axis=2) > 60
    # The mouth and the chin move, the eyes and the forehead do not.
    upper = int(0.4 * len(closed))
    assert changed[:upper].mean() < 0.02 * changed[upper:].mean()
    # Where the lips were, it is dark now.
    mouth = opened[changed]
    assert (mouth.sum(axis=1) < closed[changed].sum(axis=1)).mean() > 0.3
    _set(tab, "jawOpen", "0")
    _until(tab, _close(closed))


def test_a_flame_slider_moves_the_head_and_the_blendshapes_move_it(tab: Any, session: LiveSession) -> None:
    _open_sliders(tab, session)
    rest = _at_rest(tab, session)
    _set(tab, "open (°)", "15")
    _until(tab, lambda picture: bool(np.abs(picture - rest).mean() > 0.6))
    tab.get_by_role("button", name="All to zero").click()
    _until(tab, _close(rest))


def test_neutral_record_stop_download_and_screenshot(tab: Any, session: LiveSession, tmp_path: Path) -> None:
    _switch_camera(tab, session, on=True)
    tab.get_by_role("button", name="Neutral").click()
    tab.get_by_role("progressbar").first.wait_for()
    tab.get_by_text("Using your neutral").wait_for()
    tab.get_by_role("button", name="Record").click()
    tab.get_by_text("Recording:").wait_for()
    wait_for(lambda: session.state.n_recorded > 20, seconds=60)
    tab.get_by_role("button", name="Stop").click()
    for kind in (".npz", ".csv", ".jsonl"):
        tab.get_by_label("Format").last.click()
        tab.get_by_role("option", name=kind, exact=True).click()
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name="Download").click()
        assert waiting.value.suggested_filename.endswith(kind)
        waiting.value.save_as(tmp_path / f"take{kind}")
        assert len(load_params(tmp_path / f"take{kind}")) == session.state.n_recorded
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="Screenshot").click()
    waiting.value.save_as(tmp_path / "shot.png")
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "shot.png").convert("L")).std() > 20


def test_two_browsers_show_the_same_and_a_second_head_stands_beside(
    tab: Any, browser: Any, session: LiveSession
) -> None:
    _open_sliders(tab, session)
    alone = _at_rest(tab, session)
    other = browser.new_page(viewport={"width": 1180, "height": 700})
    other.set_default_timeout(_PATIENCE)
    try:
        other.goto(_address(session))
        other.get_by_text("Camera on").wait_for()
        _until(other, _close(alone))
        session.set_mapping("B", "half.safetensors")
        both = _until(tab, lambda picture: bool(np.abs(picture - alone).mean() > 5), looks=4)
        _until(other, _close(both))
        session.set_mapping("B", None)
        _until(tab, _close(alone))
    finally:
        other.close()


def test_wireframe_and_clay_show(tab: Any, session: LiveSession) -> None:
    _open_sliders(tab, session)
    painted = _at_rest(tab, session)
    tab.get_by_role("tab", name="Live").click()
    tab.get_by_text("Wireframe").scroll_into_view_if_needed()
    tab.get_by_label("Wireframe").click()
    _until(tab, lambda picture: bool(np.abs(picture - painted).mean() > 5))
    tab.get_by_label("Wireframe").click()
    _until(tab, _close(painted))
    tab.get_by_label("Material").click()
    tab.get_by_role("option", name="clay", exact=True).click()
    clay = _until(tab, lambda picture: bool(np.abs(picture - painted).mean() > 3))
    # Lips, brows and hair have the skin's color: less red against blue, less dark.
    assert clay.std() < painted.std()
    tab.get_by_label("Material").click()
    tab.get_by_role("option", name="colors", exact=True).click()
    _until(tab, _close(painted))


_ATTACK = "<iframe srcdoc=\"<script>parent.document.title='stolen'</script>\"></iframe>"


def _attacked(browser: Any, session: LiveSession, words: str) -> str:
    """The title of the page once it shows a notice with these words."""
    page = browser.new_page()
    page.set_default_timeout(_PATIENCE)
    try:
        page.goto(_address(session))
        page.get_by_text(words).first.wait_for()
        # A script in the notice would have been run by the time at which a later one has.
        page.evaluate("() => new Promise(done => setTimeout(done, 500))")
        assert page.locator("iframe").count() == 0
        return str(page.title())
    finally:
        page.close()


def test_a_foreign_recording_runs_no_script(browser: Any, tmp_path: Path) -> None:
    lines = performance_recording(tmp_path / "own.jsonl").read_text().splitlines()
    frame = json.loads(lines[20])
    frame["found"] = _ATTACK
    (tmp_path / "foreign.jsonl").write_text("\n".join([*lines[:20], json.dumps(frame)]) + "\n")
    with running(settings(tmp_path, source=str(tmp_path / "foreign.jsonl"))) as session:
        assert "stolen" not in _attacked(browser, session, "The source stopped")
        assert "iframe" in session.state.notice


def test_the_goodbye_of_a_stream_server_runs_no_script(browser: Any, tmp_path: Path) -> None:
    websockets = pytest.importorskip("websockets.sync.server", reason="needs the stream extra")
    port = free_port(socket.SOCK_STREAM)

    def say_goodbye(connection: Any) -> None:
        connection.close(1011, _ATTACK)

    with websockets.serve(say_goodbye, "127.0.0.1", port) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with running(settings(tmp_path, source=f"ws://127.0.0.1:{port}")) as session:
                assert "stolen" not in _attacked(browser, session, "The source stopped")
                assert "iframe" in session.state.notice
        finally:
            server.shutdown()
            serving.join()
