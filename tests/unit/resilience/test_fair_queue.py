"""FairQueue against a model of it: order within a flow, turns between flows, who loses a place."""

from __future__ import annotations

import random

from mesh.resilience.fair_queue import FairQueue


class Model:
    """The same with lists."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.flows: list[tuple[str, list[int]]] = []
        self.order: list[int] = []

    def items(self, flow: str) -> list[int]:
        for name, items in self.flows:
            if name == flow:
                return items
        self.flows.append((flow, []))
        return self.flows[-1][1]

    def drop(self, item: int) -> bool:
        for name, items in self.flows:
            if item in items:
                items.remove(item)
                self.order.remove(item)
                self.flows = [each for each in self.flows if each[1]]
                assert name
                return True
        return False

    def push(self, flow: str, item: int) -> int | None:
        displaced = None
        if len(self.order) >= self.most:
            own = len(next((items for name, items in self.flows if name == flow), []))
            longest = max((len(items) for _, items in self.flows), default=0)
            if longest <= own + 1:
                return item
            victim = next(items for _, items in self.flows if len(items) == longest)
            displaced = victim[-1]
            self.drop(displaced)
        self.items(flow).append(item)
        self.order.append(item)
        return displaced

    def pop(self) -> int | None:
        if not self.flows:
            return None
        flow = self.flows.pop(0)
        self.flows.append(flow)
        item = flow[1][0]
        self.drop(item)
        return item


def test_one_flow_is_first_come_first_served() -> None:
    queue = FairQueue(3)
    assert [queue.push("a", n, n) for n in range(5)] == [None, None, None, 3, 4]
    assert queue.count == 3
    assert queue.oldest() == 0
    assert [queue.pop() for _ in range(4)] == [0, 1, 2, None]
    assert queue.oldest() == -1


def test_flows_take_turns() -> None:
    queue = FairQueue(1000)
    for n in range(100):
        queue.push("greedy", n, 0)
    queue.push("modest", "x", 1)
    assert [queue.pop(), queue.pop()] == [0, "x"]
    queue.push("modest", "y", 2)
    assert [queue.pop(), queue.pop(), queue.pop()] == [1, "y", 2]


def test_the_longest_flow_loses_its_newest_where_the_queue_is_full() -> None:
    queue = FairQueue(4)
    for n in range(4):
        queue.push("greedy", n, n)
    assert queue.push("modest", "x", 5) == 3
    assert queue.push("modest", "y", 5) == 2
    assert queue.push("modest", "z", 5) == "z"  # both have 2
    assert queue.push("greedy", 9, 5) == 9
    assert queue.push("third", "a", 5) in (1, "y")
    assert queue.count == 4


def test_none_waits_where_none_may() -> None:
    queue = FairQueue(0)
    assert queue.push("a", 1, 0) == 1
    assert (queue.pop(), queue.count) == (None, 0)


def test_who_is_next_stays_in_until_served() -> None:
    queue = FairQueue(10)
    for n, flow in enumerate("aab"):
        queue.push(flow, n, n)
    assert [queue.head(), queue.head(), queue.count] == [0, 0, 3]
    assert queue.serve(0)
    assert not queue.serve(0)
    assert [queue.head(), queue.pop(), queue.head(), queue.pop(), queue.head()] == [2, 2, 1, 1, None]


def test_the_one_that_came_first_whoever_is_next() -> None:
    queue = FairQueue(10)
    queue.push("a", 1, 1)
    queue.push("b", 2, 2)
    assert queue.pop() == 1
    queue.push("a", 3, 3)
    queue.push("c", 4, 4)
    assert queue.pop_oldest() == 2
    assert queue.remove(3)
    assert not queue.remove(3)
    assert queue.pop_oldest() == 4
    assert queue.pop_oldest() is None


def test_as_the_model_does() -> None:
    rng = random.Random(5)
    for most in (0, 1, 2, 7, 30):
        queue, model = FairQueue(most), Model(most)
        for item in range(3000):
            what = rng.random()
            if what < 0.6:
                flow = rng.choice("abcdefgh"[:rng.randint(1, 8)])
                assert queue.push(flow, item, item) == model.push(flow, item)
            elif what < 0.8:
                assert queue.pop() == model.pop()
            elif what < 0.9:
                gone = rng.choice(model.order) if model.order else -1
                assert queue.remove(gone) == model.drop(gone)
            else:
                oldest = model.order[0] if model.order else None
                assert queue.oldest() == (-1 if oldest is None else oldest)
                assert queue.pop_oldest() == oldest
                if oldest is not None:
                    model.drop(oldest)
            assert queue.count == len(model.order)
