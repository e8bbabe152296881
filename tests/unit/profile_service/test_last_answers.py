"""The last answers: by user and bundle, bounded, and never of another lineage."""

from groundswell.profile_service.profiles.last_answers import LastAnswer, LastAnswers


def test_an_answer_is_given_when_there_is_one_for_each_user() -> None:
    last: LastAnswers[str] = LastAnswers(10, 100_000, size=len)
    last.keep("l", b"a", "bundle", LastAnswer("of a", 1))
    last.keep("l", b"b", "bundle", LastAnswer("of b", 2))
    assert last.of_all([b"b", b"a"], "bundle") == [LastAnswer("of b", 2), LastAnswer("of a", 1)]
    assert last.of_all([b"a", b"c"], "bundle") is None
    assert last.of_all([b"a"], "another") is None
    last.forget("bundle")
    assert last.of_all([b"a"], "bundle") is None


def test_who_asked_longest_ago_leaves_first() -> None:
    last: LastAnswers[str] = LastAnswers(2, 100_000, size=len)
    for key in (b"a", b"b", b"a", b"c"):
        last.keep("l", key, "bundle", LastAnswer("x", 1))
    assert last.of_all([b"a", b"c"], "bundle") is not None
    assert last.of_all([b"b"], "bundle") is None


def test_after_a_restore_nothing_of_before_is_answered() -> None:
    last: LastAnswers[str] = LastAnswers(10, 100_000, size=len)
    last.keep("before", b"a", "bundle", LastAnswer("of a", 1))
    last.keep("after", b"b", "bundle", LastAnswer("of b", 2))
    assert last.of_all([b"a"], "bundle") is None
