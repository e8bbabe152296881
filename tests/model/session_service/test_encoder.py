"""A served window is read exactly as the model would read it alone, and read again only if due."""

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace

import numpy as np
import pytest

from groundswell.artifacts.bundle import Bundle
from groundswell.serving.errors import Unavailable
from groundswell.session_service.encoded_sessions import EncodedSessions
from groundswell.session_service.encoder import EncodedSession, SessionEncoder
from groundswell.session_service.items import ItemTable
from groundswell.session_service.windows.records import WindowEvent, pack, session_code
from groundswell.session_service.windows.window import Listing, Window, Written

_MINUTE_US = 60_000_000
_L = 8  # the tiny bundle's window


def event(n: int, *, item_no: int = 0, minutes: float = 1.0, session_id: str = "") -> WindowEvent:
    time_us = int(n * minutes * _MINUTE_US)
    return WindowEvent(time_us, n, item_no or 1 + n % 5, 1 + n % 9, session_code(session_id))


def window(events: list[WindowEvent]) -> Window:
    listing = Listing(events, len(events))
    return Window(_L + 1).relisted(listing, capacity=_L + 1, known=0, now_us=0)


@pytest.fixture
def items(bundle: Bundle) -> ItemTable:
    table = ItemTable(bundle.manifest.dimension)
    for row in range(6):
        table.upsert(f"item-{row}", row + 1, np.array(bundle.item_vectors[row]))
    return table


@pytest.fixture
async def encoder(bundle: Bundle, items: ItemTable) -> AsyncIterator[SessionEncoder]:
    encoder = SessionEncoder(
        bundle.id,
        bundle.session_model(),
        items,
        window_length=bundle.manifest.window_length,
        use_time=True,
        max_batch=16,
        max_queue=100,
        max_queue_bytes=10_000_000,
    )
    yield encoder
    await encoder.close()


def with_event(held: Window, written: WindowEvent) -> Window:
    return held.taken(Written([written], [], "", now_us=0))


async def encode(encoder: SessionEncoder, events: list[WindowEvent]) -> np.ndarray:
    return (await encoder.encode(pack(events))).short_vector


async def test_a_window_is_encoded_as_the_model_alone_would(
    bundle: Bundle, items: ItemTable, encoder: SessionEncoder
) -> None:
    events = [event(n) for n in range(1, 6)]
    expected = bundle.session_model().run(
        item_vectors=items.vectors(np.array([e.item_no for e in events]))[None],
        actions=np.array([[e.action for e in events]]),
        gaps=np.log1p(np.array([[0, 60, 60, 60, 60]])).astype(np.float32),
        starts=np.array([[1, 0, 0, 0, 0]], np.float32),
        lengths=np.array([5]),
    )
    np.testing.assert_allclose(await encode(encoder, events), expected[0], rtol=1e-5, atol=1e-6)


async def test_windows_that_share_a_batch_do_not_touch_each_other(encoder: SessionEncoder) -> None:
    windows = [[event(n + shift) for n in range(1, 1 + shift)] for shift in range(9)]
    alone = [await encode(encoder, events) for events in windows]
    together = await asyncio.gather(*(encode(encoder, events) for events in windows))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


async def test_only_the_newest_events_of_a_long_window_are_read(encoder: SessionEncoder) -> None:
    long = [event(n) for n in range(1, 40)]
    session = await encoder.encode(pack(long))
    assert session.item_nos.tolist() == [e.item_no for e in long[-_L:]]
    assert session.actions.tolist() == [e.action for e in long[-_L:]]
    assert session.last_event_us == long[-1].time_us
    np.testing.assert_array_equal(session.short_vector, await encode(encoder, long[-_L - 1 :]))


async def test_the_event_before_the_window_tells_whether_the_window_starts_a_session(
    encoder: SessionEncoder,
) -> None:
    within = [event(n) for n in range(1, _L + 2)]
    parted = [within[0]._replace(time_us=-90 * _MINUTE_US), *within[1:]]
    assert (await encoder.encode(pack(within))).num_session_events == _L
    assert not np.array_equal(await encode(encoder, within), await encode(encoder, parted))


async def test_the_last_session_is_counted_by_its_id_or_by_time(encoder: SessionEncoder) -> None:
    by_id = [event(n, session_id="a" if n < 4 else "b") for n in range(1, 7)]
    assert (await encoder.encode(pack(by_id))).num_session_events == 3
    by_time = [event(n, minutes=31) for n in range(1, 7)]
    assert (await encoder.encode(pack(by_time))).num_session_events == 1


async def test_an_empty_window_has_a_vector(encoder: SessionEncoder) -> None:
    session = await encoder.encode(b"")
    assert len(session.item_nos) == 0
    assert session.last_event_us is None
    assert np.isfinite(session.short_vector).all()


async def test_an_unchanged_window_is_not_encoded_again(encoder: SessionEncoder) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1), event(2)])
    first = await sessions.of(b"ann", held)
    assert await sessions.of(b"ann", held) is first
    assert (
        await sessions.of(
            b"ann", held.relisted(Listing(held.events, 2), capacity=_L + 1, known=2, now_us=9)
        )
        is first
    )
    assert await sessions.of(b"ann", with_event(held, event(3))) is not first


async def test_an_event_of_an_item_without_a_vector_is_kept_and_not_read(
    encoder: SessionEncoder,
) -> None:
    events = [event(n) for n in range(1, 6)]
    lacking = [*events[:2], event(3, item_no=77), *events[3:]]
    session = await encoder.encode(pack(lacking))
    assert session.item_nos.tolist() == [e.item_no for e in lacking]
    assert session.num_session_events == 5
    without = await encode(encoder, [*events[:2], *events[3:]])
    np.testing.assert_allclose(session.short_vector, without, rtol=1e-5, atol=1e-6)
    # A window of such events alone is read as an empty one.
    nothing = await encode(encoder, [event(1, item_no=77)])
    np.testing.assert_allclose(nothing, await encode(encoder, []), rtol=1e-5, atol=1e-6)


async def test_a_vector_that_comes_late_replaces_the_stored_session(
    encoder: SessionEncoder, items: ItemTable
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1), event(2, item_no=77)])
    before = await sessions.of(b"ann", held)
    items.upsert("elsewhere", 99, np.ones(16, np.float32))
    assert await sessions.of(b"ann", held) is before
    items.upsert("item-77", 77, np.ones(16, np.float32))
    after = await sessions.of(b"ann", held)
    assert not np.array_equal(after.short_vector, before.short_vector)
    assert np.array_equal(after.item_nos, before.item_nos)


async def test_a_vector_that_changes_while_the_model_runs_is_read_at_the_next_call(
    encoder: SessionEncoder, items: ItemTable
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1, item_no=2)])
    running = asyncio.create_task(sessions.of(b"ann", held))
    for _ in range(3):  # until the model has its input
        await asyncio.sleep(0)
    items.upsert("item-1", 2, np.ones(16, np.float32))
    later = await sessions.of(b"ann", held)
    assert not np.array_equal(later.short_vector, (await running).short_vector)


async def test_readers_of_one_window_share_one_encoding(encoder: SessionEncoder) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1)])
    got = await asyncio.gather(*(sessions.of(b"ann", held) for _ in range(5)))
    assert all(session is got[0] for session in got)


async def test_a_reader_who_leaves_does_not_take_the_encoding_from_the_others(
    encoder: SessionEncoder,
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1)])
    first = asyncio.create_task(sessions.of(b"ann", held))
    second = asyncio.create_task(sessions.of(b"ann", held))
    await asyncio.sleep(0)
    first.cancel()
    assert len((await second).item_nos) == 1


async def test_what_every_reader_left_is_not_run_by_the_model(
    encoder: SessionEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    ran, begun, go_on = [], threading.Event(), threading.Event()

    def run(**inputs: np.ndarray) -> np.ndarray:
        ran.append(inputs["lengths"].tolist())
        begun.set()
        go_on.wait(10)
        return np.zeros((len(inputs["lengths"]), 16), np.float32)

    monkeypatch.setattr(encoder, "_model", SimpleNamespace(run=run))

    def reader(user: bytes, length: int) -> asyncio.Task[EncodedSession]:
        held = window([event(n) for n in range(1, 1 + length)])
        return asyncio.create_task(sessions.of(user, held))

    first = reader(b"ann", 1)
    await asyncio.to_thread(begun.wait, 10)  # now the model is busy
    gone = [reader(b"bob", 2), reader(b"bob", 2), reader(b"eve", 3)]
    stays = reader(b"eve", 3)
    await asyncio.sleep(0)
    for call in gone:
        call.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert len((await stays).item_nos) == 3
    await first
    assert ran == [[1], [3]]


async def test_a_write_of_a_user_who_asks_is_encoded_before_the_next_read(
    encoder: SessionEncoder,
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1)])
    await sessions.of(b"ann", held)
    changed = with_event(held, event(2))
    sessions.refresh(b"ann", changed)
    await asyncio.sleep(0.1)
    await encoder.close()  # what is read now was encoded before
    assert len((await sessions.of(b"ann", changed)).item_nos) == 2


async def test_a_write_of_a_user_who_never_asks_is_not_encoded(encoder: SessionEncoder) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1)])
    sessions.refresh(b"bob", held)
    await encoder.close()
    with pytest.raises(Unavailable):
        await sessions.of(b"bob", held)


async def test_an_older_window_that_is_done_later_does_not_replace_a_newer_session(
    encoder: SessionEncoder,
) -> None:
    sessions = EncodedSessions(encoder, max_users=10, max_bytes=10_000_000)
    held = window([event(1)])
    await sessions.of(b"ann", held)
    newer = with_event(held, event(2))
    newest = with_event(newer, event(3))
    sessions.refresh(b"ann", newer)
    sessions.refresh(b"ann", newest)
    await asyncio.sleep(0.1)
    await encoder.close()
    assert len((await sessions.of(b"ann", newest)).item_nos) == 3


async def test_the_session_that_was_used_longest_ago_leaves_first(encoder: SessionEncoder) -> None:
    sessions = EncodedSessions(encoder, max_users=1, max_bytes=10_000_000)
    held = window([event(1)])
    first = await sessions.of(b"ann", held)
    await sessions.of(b"bob", held)
    assert await sessions.of(b"ann", held) is not first


async def test_a_model_that_gives_nan_fails_the_call(
    encoder: SessionEncoder, items: ItemTable
) -> None:
    items.upsert("overflowing", 3, np.full(16, 3e38, np.float32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        await encode(encoder, [event(n, item_no=3) for n in range(1, 6)])
    assert np.isfinite(await encode(encoder, [event(1)])).all()
