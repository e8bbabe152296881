"""What was read is right until something that it was made of changes."""

import pytest

from groundswell.profile_service.store import changes as module
from groundswell.profile_service.store.changes import (
    EVERYTHING,
    GONE_USER,
    ITEM,
    USER,
    KnownChanges,
)


def test_what_changed_after_a_read_is_not_right_any_more_and_the_rest_is() -> None:
    changes = KnownChanges(is_live=True)
    before = changes.generation
    changes.publish([(USER, 1), (ITEM, 2)])
    assert not changes.user_unchanged(1, before)
    assert changes.user_unchanged(2, before)
    assert not changes.items_unchanged([1, 2], before)
    assert changes.items_unchanged([1, 3], before)
    after = changes.generation
    assert changes.user_unchanged(1, after)
    assert changes.items_unchanged([1, 2], after)


def test_a_deleted_user_is_not_there_for_what_was_read_before() -> None:
    changes = KnownChanges(is_live=True)
    before = changes.generation
    changes.publish([(USER, 1), (GONE_USER, 2)])
    assert changes.user_exists(1, before)
    assert not changes.user_exists(2, before)
    assert not changes.user_unchanged(2, before)


def test_a_change_of_everything_leaves_nothing_right() -> None:
    changes = KnownChanges(is_live=True)
    before = changes.generation
    changes.publish([(EVERYTHING, 0)])
    assert not changes.user_unchanged(7, before)
    assert not changes.user_exists(7, before)
    assert not changes.items_unchanged([7], before)
    assert changes.user_unchanged(7, changes.generation)


def test_what_was_read_before_a_change_that_is_forgotten_counts_as_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 2)
    changes = KnownChanges(is_live=True)
    generations = [changes.generation]
    for number in range(1, 5):
        changes.publish([(USER, number)])
        generations.append(changes.generation)
    # The changes of 1 and 2 are forgotten: who knows whom they were of.
    assert not changes.user_unchanged(9, generations[1])
    assert changes.user_unchanged(9, generations[2])
    assert not changes.user_unchanged(4, generations[2])


def test_after_changes_that_may_have_been_missed_an_outage_is_answered_all_the_same() -> None:
    changes = KnownChanges(is_live=True)
    before = changes.generation
    changes.may_lack_some()
    assert not changes.user_unchanged(7, before)
    assert not changes.items_unchanged([7], before)
    assert changes.user_exists(7, before)
    changes.publish([(GONE_USER, 7)])
    assert not changes.user_exists(7, before)
