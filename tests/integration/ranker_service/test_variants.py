"""A share of the users gets another bundle or fusion weight; a request may name its bundle."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from groundswell.artifacts.variants import VARIANTS, read_variants
from groundswell.client import GroundswellError, event, recommend_request
from groundswell.ranker.v1.ranker_service_pb2 import FusionWeightSource, RecommendResponse
from groundswell.serving.attribution import AttributionTokens
from groundswell.serving.subjects import subject_id
from tests.integration.ranker_service.support import ids
from tests.support.bundles import serve
from tests.support.in_process import run
from tests.support.processes import SECRET
from tests.support.suite import Suite
from tests.support.waiting import eventually

USERS = [f"user-{n}" for n in range(24)]
TOKENS = AttributionTokens(SECRET)
AS_OF = datetime(2027, 1, 1, tzinfo=UTC)
"""The age of the last event counts, so all ask as of one time."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, made: list[Path]) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("variants")
    for path in (made[1], made[0]):
        serve(path, folder / "bundles")
    with Suite(folder, folder / "bundles") as running:
        running.fill()
        running.client.record_events(
            [event(u, f"item-{(n + i) % 30}") for n, u in enumerate(USERS) for i in range(4)]
        )
        running.refresh()
        yield running


@pytest.fixture
def none(suite: Suite) -> Iterator[None]:
    """Leave no variant behind."""
    yield
    (suite.bundles / VARIANTS).unlink(missing_ok=True)


def variant(suite: Suite, *arguments: str) -> str:
    done = run("bundles", "variant", *arguments, "--bundles", str(suite.bundles))
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_loaded(suite: Suite, bundle: Path) -> None:
    eventually(lambda: bundle.name in suite.client.model("ranker").loaded_bundle_ids, timeout_s=60)


def answers(suite: Suite) -> dict[str, RecommendResponse]:
    return {user: suite.client.recommend(user, as_of=AS_OF) for user in USERS}


def counted(suite: Suite) -> set[str]:
    return {one.variant for one in suite.client.outcomes(["variant"]).outcomes}


def test_encoders_that_start_hold_the_previous_bundle_as_well(
    suite: Suite, made: list[Path]
) -> None:
    def held(service: Literal["profile", "session"]) -> list[str]:
        return list(suite.client.model(service).loaded_bundle_ids)

    both = [made[0].name, made[1].name]
    eventually(lambda: (held("profile"), held("session")) == (both, both))
    answer = suite.client.encode_session(USERS[0], bundle_id=made[1].name)
    assert answer.vector.bundle_id == made[1].name


@pytest.mark.usefixtures("none")
def test_a_share_of_the_users_is_ranked_by_another_bundle_alone(
    suite: Suite, made: list[Path]
) -> None:
    current, other = made[0].name, made[1].name
    variant(suite, "set", "half", "--bundle", other[:8], "--share", "0.5")
    wait_loaded(suite, made[1])
    variants = read_variants(suite.bundles)
    given = answers(suite)
    has_variant = {user: variants.of(user) is not None for user in USERS}
    assert 0 < sum(has_variant.values()) < len(USERS)
    for user, answer in given.items():
        expected = ("half", other) if has_variant[user] else ("", current)
        assert (answer.variant, answer.bundle_id) == expected
        token = TOKENS.read(answer.attribution_token, "token")
        assert (token.variant, token.bundle_id) == expected
        assert not answer.degradations
        named = suite.client.recommend(user, bundle_id=answer.bundle_id, as_of=AS_OF)
        assert (ids(named), named.variant) == (ids(answer), "")
    batch = suite.client.batch_recommend([recommend_request(user, as_of=AS_OF) for user in USERS])
    assert [ids(one) for one in batch] == [ids(one) for one in given.values()]
    assert [one.variant for one in batch] == [one.variant for one in given.values()]
    sessions = [f"session-{n}" for n in range(12)]
    for session_id in sessions:
        answer = suite.client.recommend(session_id=session_id)
        is_drawn = variants.of(subject_id("", session_id)) is not None
        assert answer.variant == ("half" if is_drawn else "")
    eventually(
        lambda: "half" in {one.variant for one in suite.client.outcomes(["variant"]).outcomes}
    )
    variant(suite, "remove", "half")
    eventually(lambda: {one.variant for one in answers(suite).values()} == {""})
    eventually(lambda: other not in suite.client.model("ranker").loaded_bundle_ids)
    assert answers(suite).keys() == given.keys()


@pytest.mark.usefixtures("none")
def test_a_variant_may_set_the_weight_alone_unless_the_request_does(suite: Suite) -> None:
    variant(suite, "set", "late", "--fusion-weight", "0.9", "--share", "1")
    eventually(lambda: suite.client.recommend(USERS[0]).variant == "late")
    answer = suite.client.recommend(USERS[0])
    assert answer.fusion_weight == pytest.approx(0.9)
    assert answer.fusion_weight_source == FusionWeightSource.FUSION_WEIGHT_SOURCE_FORCED
    forced = suite.client.recommend(USERS[0], fusion_weight=0.2)
    assert forced.variant == ""
    assert forced.fusion_weight == pytest.approx(0.2)
    assert "late" in variant(suite, "list")


@pytest.mark.usefixtures("none")
def test_a_wrong_file_and_an_unknown_bundle_change_nothing(suite: Suite, made: list[Path]) -> None:
    variant(suite, "set", "late", "--fusion-weight", "0.9", "--share", "1")
    eventually(lambda: suite.client.recommend(USERS[0]).variant == "late")
    path = suite.bundles / VARIANTS
    known = path.read_text()
    path.write_text("{")
    eventually(lambda: "variants_not_read" in suite.ranker.log())
    assert suite.client.recommend(USERS[0]).variant == "late"
    unknown = known.replace('"bundle":null', '"bundle":"00000000deadbeef"')
    path.write_text(unknown)
    eventually(lambda: "bundle_refused" in suite.ranker.log())
    answer = suite.client.recommend(USERS[0])
    assert (answer.variant, answer.bundle_id) == ("", made[0].name)


def test_a_request_that_names_a_bundle_that_is_not_loaded_is_refused(
    suite: Suite, made: list[Path]
) -> None:
    assert suite.client.recommend(USERS[0], bundle_id=made[0].name).bundle_id == made[0].name
    wrong = recommend_request(USERS[1], bundle_id="00000000deadbeef")
    for ask in (
        lambda: suite.client.recommend(USERS[0], bundle_id="00000000deadbeef"),
        lambda: suite.client.batch_recommend([recommend_request(USERS[0]), wrong]),
    ):
        with pytest.raises(GroundswellError) as refused:
            ask()
        assert refused.value.reason == "BUNDLE_NOT_LOADED"
        assert "00000000deadbeef" in str(refused.value)
