"""Who is asked, how long an answer is waited for, and what is said when there is nobody."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.errors import NotFound, Overloaded
from controlplane.introspection import Desk
from controlplane.introspection.desk import MAX_WAITING, Line, Refused, Unanswered, absent
from mesh.v1 import introspection_pb2 as pb

CALL = pb.HypotheticalCall(service="cart")


def answer(line: Line, **fields: object) -> None:
    """Answer the next question as the sidecar would."""
    question = line.next_question()
    assert question is not None
    line.receive(pb.SidecarAnswer(id=question.id, **fields))


def test_an_instance_a_service_and_a_worker_can_be_named():
    desk = Desk()
    for id_ in ("web/web-1", "web/web-0/10", "web/web-0", "web/web-0/2", "website/a"):
        desk.attach(id_)
    assert [line.id for line in desk.named("web")] == ["web/web-0", "web/web-0/2", "web/web-0/10", "web/web-1"]
    assert [line.id for line in desk.named("web/web-0")] == ["web/web-0", "web/web-0/2", "web/web-0/10"]
    assert [line.id for line in desk.named("web/web-0/10")] == ["web/web-0/10"]
    assert desk.named("we") == []
    assert len(desk.all()) == 5


def test_the_newer_of_two_streams_is_asked_until_it_ends():
    desk = Desk()
    older, newer = desk.attach("web/a"), desk.attach("web/a")
    assert desk.named("web") == [newer]
    desk.detach(newer)
    assert desk.named("web") == [older]
    desk.detach(older)
    desk.detach(older)
    assert desk.named("web") == []
    assert newer.ended
    assert older.woken.is_set()


def test_answers_find_their_questions_in_any_order():
    async def main() -> None:
        line = Desk().attach("web/a")
        asked = [asyncio.ensure_future(line.ask(CALL)) for _ in range(3)]
        await asyncio.sleep(0)
        questions = [line.next_question() for _ in range(3)]
        assert line.next_question() is None
        assert not line.woken.is_set()
        for question in reversed(questions):
            line.receive(pb.SidecarAnswer(id=question.id, explanation=pb.Explanation(picked=f"cart/{question.id}")))
        assert [each.picked for each in await asyncio.gather(*asked)] == ["cart/1", "cart/2", "cart/3"]
        line.receive(pb.SidecarAnswer(id=1))  # twice: nobody's
        line.receive(pb.SidecarAnswer(id=99))

    asyncio.run(main())


def test_a_refusal_is_told_in_the_sidecars_words():
    async def main() -> None:
        line = Desk().attach("web/a")
        for fields, said in (({"refusal": "no port for cart"}, "web/a: no port for cart"), ({}, "web/a: it has no")):
            asked = asyncio.ensure_future(line.ask(CALL))
            await asyncio.sleep(0)
            answer(line, **fields)
            with pytest.raises(Refused, match=said):
                await asked

    asyncio.run(main())


def test_nobody_waits_for_ever_and_nothing_is_sent_for_who_has_given_up():
    async def main() -> None:
        line = Desk().attach("web/a")
        with pytest.raises(Unanswered, match=r"did not answer within 0\.01 s: .*mesh status"):
            await line.ask(CALL, 0.01)
        assert line.next_question() is None
        asked = asyncio.ensure_future(line.ask(CALL))
        await asyncio.sleep(0)
        line.end()
        with pytest.raises(Refused, match="went away before it answered"):
            await asked

    asyncio.run(main())


def test_questions_are_bounded():
    async def main() -> None:
        line = Desk().attach("web/a")
        asked = [asyncio.ensure_future(line.ask(CALL)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="16 questions wait for web/a"):
            await line.ask(CALL)
        for _ in asked:
            answer(line, explanation=pb.Explanation(picked="cart/a"))
        await asyncio.gather(*asked)
        asyncio.get_running_loop().call_soon(lambda: answer(line, explanation=pb.Explanation(picked="cart/b")))
        assert (await line.ask(CALL)).picked == "cart/b"

    asyncio.run(main())


def test_absence_comes_with_its_remedy():
    seen = [("web/a", True), ("old/a", False), ("website/a", True)]
    assert "has just started (try again)" in str(absent("web", seen))
    assert "start it, or ask another one" in str(absent("old/a", seen))
    assert isinstance(absent("old", seen), Refused)
    never = absent("we", seen)
    assert isinstance(never, NotFound)
    assert "mesh get sidecars" in str(never)
