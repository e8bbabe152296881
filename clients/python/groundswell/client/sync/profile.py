# Generated from aio/profile.py by `make client`: change that file.
"""The sync client's calls of the profile service."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial

import grpc

from groundswell.client import requests
from groundswell.client.channels import Deadlines
from groundswell.client.errors import GroundswellError
from groundswell.client.retries import Reopening
from groundswell.client.sync.calls import ThrottledCalls, stream
from groundswell.client.sync.imports import import_batches
from groundswell.client.sync.outcomes import OutcomeCalls
from groundswell.common.v1 import event_pb2, item_pb2
from groundswell.profile.v1 import catalogue_service_pb2 as catalogue_pb2
from groundswell.profile.v1 import event_service_pb2 as events_pb2
from groundswell.profile.v1 import profile_service_pb2 as profile_pb2
from groundswell.profile.v1 import text_service_pb2 as text_pb2
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from groundswell.profile.v1.event_service_pb2_grpc import EventServiceStub
from groundswell.profile.v1.profile_service_pb2_grpc import ProfileServiceStub
from groundswell.profile.v1.text_service_pb2_grpc import TextServiceStub


class ProfileCalls(OutcomeCalls):
    """The part of GroundswellClient that the profile service answers."""

    def __init__(self, channel: grpc.Channel, call: ThrottledCalls, deadlines: Deadlines) -> None:
        super().__init__(channel, call, deadlines)
        self._events = EventServiceStub(channel)
        self._catalogue = CatalogueServiceStub(channel)
        self._profiles = ProfileServiceStub(channel)
        self._texts = TextServiceStub(channel)

    # --- events

    def append_events(
        self, events: requests.Events, *, timeout: float | None = None
    ) -> list[event_pb2.EventResult]:
        """Store up to 1,000 events of the past; those that happen now go to `record_events`."""
        request = events_pb2.AppendEventsRequest(events=events)
        answer = self._call(self._events.AppendEvents, request, timeout, self._deadlines.write_s)
        return list(answer.results)

    def list_events(
        self,
        user_id: str = "",
        *,
        session_id: str = "",
        page_size: int = 100,
        timeout: float | None = None,
    ) -> Iterator[events_pb2.StoredEvent]:
        """All events of a user or a session, newest first; `timeout` is for each page."""
        request = events_pb2.ListEventsRequest(
            user_id=user_id, session_id=session_id, page_size=page_size
        )
        while True:
            page = self._call(self._events.ListEvents, request, timeout, self._deadlines.read_s)
            for stored in page.events:
                yield stored
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def import_events(
        self,
        events: requests.Events,
        *,
        batch_size: int = requests.MAX_EVENTS,
        timeout: float | None = None,
        give_up_s: float = requests.STREAM_GIVE_UP_S,
    ) -> Iterator[events_pb2.ImportEventsResponse]:
        """Store a whole log: one answer per batch of `batch_size` events, once it is committed.

        When the connection breaks, it is opened again, and the import goes on from the first batch
        that was not answered. That batch may have been stored; its events are then duplicates.
        After `give_up_s` without an answer it raises. After an error go on from the first event
        that was not answered; it is safe to send events again. `timeout` is for the whole log.
        """
        seconds = self._deadlines.stream_s if timeout is None else timeout
        answers = import_batches(self._events.ImportEvents, events, batch_size, seconds, give_up_s)
        with closing(answers):
            for answer in answers:
                yield answer

    # --- items

    def upsert_items(
        self,
        items: Iterable[item_pb2.Item],
        *,
        mode: catalogue_pb2.UpsertMode.ValueType = catalogue_pb2.UPSERT_MODE_UNSPECIFIED,
        timeout: float | None = None,
    ) -> catalogue_pb2.UpsertItemsResponse:
        """Write up to 1,000 items of 4 MiB together, all or none; known ones are replaced whole.

        With a `mode` only new items are written, or only those that exist: the error's reason is
        ITEM_EXISTS or ITEM_NOT_FOUND for another one.
        """
        request = catalogue_pb2.UpsertItemsRequest(items=items, mode=mode)
        return self._call(self._catalogue.UpsertItems, request, timeout, self._deadlines.bulk_s)

    def stage_items(
        self, stage: str, items: Iterable[item_pb2.Item], *, timeout: float | None = None
    ) -> int:
        """Put up to 1,000 items into a stage, unseen until its commit; return how many it has."""
        request = catalogue_pb2.StageItemsRequest(stage=stage, items=items)
        answer = self._call(self._catalogue.StageItems, request, timeout, self._deadlines.bulk_s)
        return answer.num_staged

    def commit_stage(
        self, stage: str, *, delete_others: bool = False, timeout: float | None = None
    ) -> catalogue_pb2.CommitStageResponse:
        """Show a stage's items at once; with `delete_others` it is the whole catalogue.

        The error's reason is STAGE_NOT_FOUND for a stage without items, so also after a commit
        whose answer was lost.
        """
        request = catalogue_pb2.CommitStageRequest(stage=stage, delete_others=delete_others)
        return self._call(self._catalogue.CommitStage, request, timeout, self._deadlines.stream_s)

    def drop_stage(self, stage: str, *, timeout: float | None = None) -> int:
        """Forget a stage; return how many items it had."""
        request = catalogue_pb2.DropStageRequest(stage=stage)
        answer = self._call(self._catalogue.DropStage, request, timeout, self._deadlines.write_s)
        return answer.num_dropped

    def delete_items(
        self, item_ids: Iterable[str], *, timeout: float | None = None
    ) -> catalogue_pb2.DeleteItemsResponse:
        """Delete up to 1,000 items; one that is not there is no error."""
        request = catalogue_pb2.DeleteItemsRequest(item_ids=item_ids)
        return self._call(self._catalogue.DeleteItems, request, timeout, self._deadlines.bulk_s)

    def get_item(self, item_id: str, *, timeout: float | None = None) -> item_pb2.Item:
        """One item; the error's reason is ITEM_NOT_FOUND when there is none."""
        request = catalogue_pb2.GetItemRequest(item_id=item_id)
        answer = self._call(self._catalogue.GetItem, request, timeout, self._deadlines.read_s)
        return answer.item

    def list_items(
        self, *, page_size: int = 100, timeout: float | None = None
    ) -> Iterator[item_pb2.Item]:
        """All items, by number; `timeout` is for each page."""
        request = catalogue_pb2.ListItemsRequest(page_size=page_size)
        while True:
            page = self._call(self._catalogue.ListItems, request, timeout, self._deadlines.read_s)
            for stored in page.items:
                yield stored
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch_items(
        self,
        since_revision: int = 0,
        *,
        lineage: str = "",
        bundle_id: str = "",
        with_content: bool = True,
        give_up_s: float = requests.STREAM_GIVE_UP_S,
    ) -> Iterator[catalogue_pb2.WatchItemsResponse]:
        """Follow the catalogue from a revision of a lineage on, without end; nothing is missed.

        After a restore of the database an answer has `reset` set: drop all items then.

        When the connection breaks the watch goes on from the last revision; after `give_up_s`
        without an answer it raises.
        """
        reopening = Reopening(give_up_s, from_first=True)
        revision = since_revision
        while True:
            request = requests.watch_request(revision, bundle_id, with_content, lineage)
            try:
                watched = stream(partial(self._catalogue.WatchItems, request))
                with closing(watched) as answers:
                    for changes in answers:
                        revision, lineage = changes.revision, changes.lineage
                        reopening.answered()
                        yield changes
            except GroundswellError as error:
                time.sleep(reopening.wait_s(error))

    # --- profiles

    def explain_profile(
        self, user_id: str, item_vector: item_pb2.Vector, *, timeout: float | None = None
    ) -> profile_pb2.ExplainProfileResponse:
        """What the events and the chunks of a user's history do for an item, by its vector."""
        request = profile_pb2.ExplainProfileRequest(
            user_id=user_id, bundle_id=item_vector.bundle_id, item_vector=item_vector
        )
        return self._call(self._profiles.ExplainProfile, request, timeout, self._deadlines.bulk_s)

    def get_profile(
        self,
        user_id: str,
        *,
        bundle_id: str = "",
        known_seen_version: int | None = None,
        known_seen_lineage: str = "",
        timeout: float | None = None,
    ) -> profile_pb2.Profile:
        """A user's long-term vector and seen items; for an unknown user there is neither.

        Seen items of a version and lineage that the caller names are not sent again.
        """
        request = profile_pb2.GetProfileRequest(
            user_id=user_id,
            bundle_id=bundle_id,
            known_seen_version=known_seen_version,
            known_seen_lineage=known_seen_lineage,
        )
        answer = self._call(self._profiles.GetProfile, request, timeout, self._deadlines.read_s)
        return answer.profile

    def batch_get_profiles(
        self, user_ids: Iterable[str], *, bundle_id: str = "", timeout: float | None = None
    ) -> list[profile_pb2.Profile]:
        """The profiles of up to 256 users, in their order."""
        request = requests.profiles_request(user_ids, bundle_id)
        answer = self._call(
            self._profiles.BatchGetProfiles, request, timeout, self._deadlines.bulk_s
        )
        return list(answer.profiles)

    def refresh_profiles(
        self, user_ids: Iterable[str] = (), *, timeout: float | None = None
    ) -> Iterator[profile_pb2.RefreshProfilesResponse]:
        """Wait until the encoder has covered all that is stored now, with its progress.

        Without users: everyone and every item that waits. It ends when nothing is left to do.
        When the connection breaks, the call is made again with the time that is left.
        """
        request = profile_pb2.RefreshProfilesRequest(user_ids=user_ids)
        seconds = self._deadlines.stream_s if timeout is None else timeout
        reopening = Reopening(requests.STREAM_GIVE_UP_S, seconds)
        while True:
            start = partial(self._profiles.RefreshProfiles, request, timeout=reopening.left_s)
            try:
                with closing(stream(start)) as answers:
                    for answer in answers:
                        reopening.answered()
                        yield answer
                return
            except GroundswellError as error:
                time.sleep(reopening.wait_s(error))

    # --- texts

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        bundle_id: str = "",
        skip_bad_texts: bool = False,
        timeout: float | None = None,
    ) -> text_pb2.EncodeTextsResponse:
        """The vectors of up to 64 texts, in the space of the items.

        With `skip_bad_texts` a text that breaks a rule has a problem in the answer, and no vector.
        """
        request = text_pb2.EncodeTextsRequest(
            texts=texts, bundle_id=bundle_id, skip_bad_texts=skip_bad_texts
        )
        return self._call(self._texts.EncodeTexts, request, timeout, self._deadlines.bulk_s)

    def predict_interests(
        self, text: str, *, num_interests: int | None = None, timeout: float | None = None
    ) -> text_pb2.PredictInterestsResponse:
        """What a text is about: its most probable categories, 20 when no number is given."""
        request = text_pb2.PredictInterestsRequest(text=text, num_interests=num_interests)
        return self._call(self._texts.PredictInterests, request, timeout, self._deadlines.read_s)
