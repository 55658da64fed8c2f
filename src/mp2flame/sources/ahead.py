"""Reading ahead: the next pictures of a file are decoded while a face is sought in the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["read_ahead"]

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _End:
    """Behind the last item, and why there are no more."""

    error: Exception | None


class _Reader(Generic[_Item]):
    """Walks through items in a thread of its own, as far as there is room."""

    def __init__(self, items: Generator[_Item, None, None], room: int) -> None:
        self.ready: queue.SimpleQueue[_Item | _End] = queue.SimpleQueue()
        self._items = items
        self._room = threading.Semaphore(room)
        self._stopping = False
        # A walk that nobody ends must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="mp2flame-ahead", daemon=True)
        self._thread.start()

    def make_room(self) -> None:
        """Let it read one more item."""
        self._room.release()

    def stop(self) -> None:
        """End the walk and close the items, in their own thread, after the item that is being read."""
        self._stopping = True
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            while self._room.acquire() and not self._stopping:
                self.ready.put(next(self._items))
        except StopIteration:
            pass
        except Exception as caught:  # noqa: BLE001 - raised again where the items are taken
            error = caught
        finally:
            self._items.close()
            self.ready.put(_End(error))


def read_ahead(items: Generator[_Item, None, None], *, room: int = 2) -> Generator[_Item, None, None]:
    """The same items in the same order, made in a thread of their own; what they raise is raised in its place.

    Nothing is made before the first is asked for. Closing this closes `items`.

    Args:
        items: made one by one; closed at the end, in the thread that makes them.
        room: how many are made before they are asked for.
    """
    reader = _Reader(items, room)
    try:
        while not isinstance(item := reader.ready.get(), _End):
            reader.make_room()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        reader.stop()
