"""Every filter keeps the same promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mp2flame.data import VECTORS, FlameParams, concatenate
from mp2flame.errors import InputError
from mp2flame.filters import Chain, Filter, Hold, Limits, OneEuro, default_filters

_E = 7
_FIELDS = ("expression", *VECTORS)


FILTERS: dict[str, Callable[[], Filter]] = {
    "one-euro": OneEuro,
    "hold": Hold,
    "limits": Limits,
    "chain": lambda: Chain(OneEuro(), Hold()),
    "default": default_filters,
}


@pytest.fixture(params=FILTERS)
def make_filter(request: pytest.FixtureRequest) -> Callable[[], Filter]:
    return FILTERS[request.param]


def _params(n: int = 40) -> FlameParams:
    rng = np.random.default_rng(5)
    found = rng.uniform(size=n) > 0.3
    arrays = {name: rng.normal(0, 0.3, (n, 3)).astype(np.float32) for name in _FIELDS[1:]}
    arrays["expression"] = rng.normal(size=(n, _E)).astype(np.float32)
    for array in arrays.values():
        array[~found] = np.nan
    return FlameParams(time=np.cumsum(rng.uniform(0, 0.1, n)), found=found, **arrays)


def _bytes(params: FlameParams) -> list[bytes]:
    return [params.time.tobytes(), params.found.tobytes(), *(getattr(params, name).tobytes() for name in _FIELDS)]


def test_a_filter_in_pieces_gives_the_same_bytes(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    whole = _bytes(make_filter()(params))
    for cuts in ([20], [1, 2, 3, 39], list(range(1, 40))):
        step = make_filter()
        pieces = [step(params[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(params)], strict=True)]
        assert _bytes(concatenate(pieces)) == whole


def test_a_filter_after_reset_is_as_new(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    used = make_filter()
    first = _bytes(used(params))
    used.reset()
    assert _bytes(used(params)) == first


def test_a_filter_keeps_time_found_and_shape(make_filter: Callable[[], Filter]) -> None:
    params = FlameParams(time=np.zeros(1), found=[True], expression=np.ones((1, _E)), shape=np.ones(3))
    got = make_filter()(params)
    assert _bytes(got)[:2] == _bytes(params)[:2]
    assert got.shape is not None
    assert got.expression.dtype == np.float32


def test_a_filter_takes_repeated_times(make_filter: Callable[[], Filter]) -> None:
    step = make_filter()
    sample = FlameParams(time=np.zeros(3), found=np.ones(3, dtype=bool), expression=np.ones((3, _E), dtype=np.float32))
    assert np.isfinite(step(sample).expression).all()
    assert np.isfinite(step(sample).expression).all()


def test_a_filter_refuses_time_that_runs_backwards_and_goes_on_after_it(make_filter: Callable[[], Filter]) -> None:
    params = _params()
    step, fresh = make_filter(), make_filter()
    step(params[:20])
    fresh(params[:20])
    with pytest.raises(InputError, match=r"expected time to rise; got .* call reset"):
        step(params[:20])
    with pytest.raises(InputError, match="expected time to rise"):
        step(params[20:][::-1])
    assert _bytes(step(params[20:])) == _bytes(fresh(params[20:]))


def test_a_filter_refuses_another_number_of_coefficients(make_filter: Callable[[], Filter]) -> None:
    step = make_filter()
    step(FlameParams.neutral(1, n_expression=50, time=[0.0]))
    with pytest.raises(InputError, match="expected 50 expression coefficients as before; got 100"):
        step(FlameParams.neutral(1, n_expression=100, time=[1.0]))
    step.reset()
    assert step(FlameParams.neutral(1, n_expression=100, time=[0.0])).n_expression == 100
