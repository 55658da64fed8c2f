"""The command fetch mapping."""

from __future__ import annotations

from tests.cli.conftest import Run


def test_published_mappings_need_an_accepted_licence(run: Run) -> None:
    code, text = run("fetch", "mapping", "peizhiyan-2025-flame2020")
    assert code == 1
    assert "research and education only" in text
    assert "--accept-licence" in text
