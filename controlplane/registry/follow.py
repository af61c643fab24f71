"""What each reader of a table has seen and has yet to see; and which readers a change concerns.

What lives here: `Follower`, a reader's position as a set of names to look at again (never a queue of changes, so a slow
reader costs no more than the resources it follows), and `Interest`, the index that finds the readers of a resource.
What this must not know: streams, events, protobuf, clocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from controlplane.registry.records import EndpointRecord, ServiceRecord
from controlplane.registry.view import Entry, Table

R = TypeVar("R", ServiceRecord, EndpointRecord)
T = TypeVar("T")
_NONE: Mapping[str, str] = {}


class Follower(Generic[R]):
    """One reader of one table.

    It follows items: the name of a resource, a collection (`cart/*`), or `*` for the whole table. `known` holds the
    version of each resource that it has been given. With `tell_absent` an item that doesn't exist is handed out once as
    removed.
    """

    __slots__ = ("_backlog", "_cursor", "_moved", "items", "known", "tell_absent")

    def __init__(self, *, tell_absent: bool) -> None:
        self.items: set[str] = set()
        self.known: dict[str, str] = {}
        self.tell_absent = tell_absent
        self._backlog: OrderedDict[str, bool] = OrderedDict()  # names to look at again -> told even if never known
        self._cursor = 0
        self._moved = False

    @property
    def behind(self) -> bool:
        """Whether there may be something to hand out."""
        return self._moved or bool(self._backlog)

    def covers(self, name: str, collection: str) -> bool:
        """Whether one of the items takes in the resource."""
        items = self.items
        return (bool(collection) and collection in items) or name in items or "*" in items

    def covers_name(self, name: str) -> bool:
        """Whether one of the items takes in the resource of this name."""
        service, slash, _ = name.partition("/")
        return self.covers(name, f"{service}/*" if slash else "")

    def follow(self, item: str, table: Table[R]) -> None:
        """Add an item. All of it that differs from `known` is going to be handed out; so is its absence."""
        if not self.items:
            self._cursor = table.serial
        self.items.add(item)
        members: Collection[str]
        known: Collection[str]
        if item == "*":
            members, known = table.entries, self.known
        elif item.endswith("/*"):
            prefix = item[:-1]
            members, known = table.collections.get(item, ()), [name for name in self.known if name.startswith(prefix)]
        else:
            members, known = (item,) if item in table.entries else (), (item,) if item in self.known else ()
        self._look_again(members)
        self._look_again(known)
        if self.tell_absent and not members:
            self._backlog[item] = True

    def doubt(self, item: str, names: Iterable[str]) -> None:
        """Know no version of those `names` that the item takes in: following it hands them out or tells their end."""
        prefix = item[:-1]
        for name in names:
            if name == item or (item.endswith("*") and name.startswith(prefix)):
                self.known[name] = ""

    def leave(self, item: str) -> None:
        """Drop an item, and what was known or still to be told of resources that no other item takes in."""
        self.items.discard(item)
        for names in (self.known, self._backlog):
            for name in [name for name in names if not self.covers_name(name)]:
                del names[name]

    def moved(self, before: int) -> None:
        """Something followed was published after serial `before`, and nothing between the last look and then."""
        if not self._moved:
            self._moved = True
            self._cursor = max(self._cursor, before)

    def collect(self, table: Table[R]) -> None:
        """Look up what changed since the last time."""
        if not self._moved:
            return
        self._moved = False
        changed = table.since(self._cursor)
        self._cursor = table.serial
        if changed is None:
            self._look_again([name for name, entry in table.entries.items() if self.covers(name, entry.collection)])
            self._look_again([name for name in self.known if self.covers_name(name)])
            return
        for name, collection in changed:
            if self.covers(name, collection):
                self._backlog.setdefault(name, False)

    def take(self, table: Table[R], limit: int, weigh: Callable[[str, Entry[R] | None], int],
             refused: Mapping[str, str] = _NONE) -> tuple[list[tuple[Entry[R], str | None]], list[str]]:
        """Hand out the latest state of what changed: entries, each with the version known before, and names removed.

        Together they weigh at most `limit`, but there is at least one if there is any. A version listed in `refused` is
        not handed out.
        """
        self.collect(table)
        entries: list[tuple[Entry[R], str | None]] = []
        removed: list[str] = []
        room = limit
        while self._backlog and room > 0:
            name, tell = self._backlog.popitem(last=False)
            entry = table.entries.get(name)
            known = self.known.get(name)
            if entry is None:
                if not self._gone(name, table, tell or name in refused):
                    continue
            elif known == entry.version or refused.get(name) == entry.version:
                continue
            room -= weigh(name, entry)
            if room < 0 and (entries or removed):
                self._backlog[name] = tell
                self._backlog.move_to_end(name, last=False)
                break
            if entry is None:
                self.known.pop(name, None)
                removed.append(name)
            else:
                self.known[name] = entry.version
                entries.append((entry, known))
        return entries, removed

    def _gone(self, name: str, table: Table[R], tell: bool) -> bool:
        if name == "*":
            return not table.entries
        if name.endswith("/*"):
            return name not in table.collections
        return tell or name in self.known

    def _look_again(self, names: Iterable[str]) -> None:
        for name in names:
            self._backlog.setdefault(name, False)


class Interest(Generic[T]):
    """The readers of each item of one table."""

    def __init__(self) -> None:
        self._readers: dict[str, set[T]] = {}

    def add(self, item: str, reader: T) -> None:
        self._readers.setdefault(item, set()).add(reader)

    def drop(self, item: str, reader: T) -> None:
        """Remove a reader of an item; one that is not there is fine."""
        readers = self._readers.get(item)
        if readers is not None:
            readers.discard(reader)
            if not readers:
                del self._readers[item]

    def in_any(self, changed: Iterable[tuple[str, str]]) -> set[T]:
        """Return the readers that one of the changed (name, collection) concerns."""
        found: set[T] = set()
        for item in self._items(changed):
            found.update(self._readers.get(item, ()))
        return found

    @staticmethod
    def _items(changed: Iterable[tuple[str, str]]) -> Iterator[str]:
        items = {item for pair in changed for item in pair if item}
        if items:
            yield "*"
        yield from items
