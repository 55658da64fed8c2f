"""What is said when a package of the extra `track` is absent, or cannot be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mp2flame.errors import MissingExtraError, SourceError


@contextmanager
def importing(package: str, purpose: str) -> Iterator[None]:
    """Translate what goes wrong while a package is imported.

    Args:
        package: the name as imported.
        purpose: what it is needed for, as the end of "... is needed to".

    Raises:
        MissingExtraError: it, or something that it needs, is not installed.
        SourceError: it is installed, but the system lacks a library that it needs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, "track", purpose) from error
    except (ImportError, OSError) as error:
        raise SourceError(
            f"{package} is installed but cannot be loaded ({error}); "
            "`mp2flame doctor` says which system library is missing"
        ) from error
