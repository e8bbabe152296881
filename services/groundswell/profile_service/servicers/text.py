"""Serves TextService."""

from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from groundswell.common.v1.item_pb2 import Vector
from groundswell.profile.v1 import text_service_pb2 as pb
from groundswell.profile.v1.text_service_pb2_grpc import TextServiceServicer
from groundswell.profile_service.bundles.loaded import ProfileBundles
from groundswell.profile_service.profiles.texts import EncodedText, TextTimes
from groundswell.profile_service.settings import ProfileSettings
from groundswell.serving.around import Context
from groundswell.serving.deadlines import call_timeout
from groundswell.serving.errors import InvalidArgument
from groundswell.serving.interests import MAX_INTERESTS, interest_messages, top_interests
from groundswell.serving.validation import check_num_interests, id_problem
from groundswell.serving.vectors import vector_to_proto

MAX_TEXTS = 64
MAX_TEXT_BYTES = 20_000
MAX_UNKNOWN_SHARE = 0.5


class TextServicer(TextServiceServicer):
    """The contract is in text_service.proto."""

    def __init__(self, bundles: ProfileBundles, settings: ProfileSettings) -> None:
        self._bundles = bundles
        self._settings = settings

    async def EncodeTexts(
        self, request: pb.EncodeTextsRequest, context: Context
    ) -> pb.EncodeTextsResponse:
        """Encode texts into the item space."""
        texts = request.texts
        if not 1 <= len(texts) <= MAX_TEXTS:
            message = f"texts has {len(texts)}; it must have 1 to {MAX_TEXTS}"
            raise InvalidArgument("TEXTS_INVALID", message, field="texts")
        problems = {i: problem for i, text in enumerate(texts) if (problem := _problem(text))}
        if problems and not request.skip_bad_texts:
            index, problem = next(iter(problems.items()))
            field = f"texts[{index}]"
            raise InvalidArgument("TEXTS_INVALID", f"{field} {problem}", field=field)
        good = {index: text for index, text in enumerate(texts) if index not in problems}
        with self._bundles.held.asked_for(request.bundle_id) as models:
            async with call_timeout(context, self._settings.encode_texts_timeout_s):
                encoded, times = await models.texts.encode(list(good.values()))
                vectors = await models.vectors_of_texts([one.vector for one in encoded])
        found = dict(zip(good, map(_answer, vectors, encoded, repeat(models.id)), strict=True))
        answers = [found.get(index, _SKIPPED) for index in range(len(texts))]
        return pb.EncodeTextsResponse(
            vectors=[vector for vector, _ in answers],
            unknown_shares=[share for _, share in answers],
            problems=[
                pb.TextProblem(index=index, reason="TEXTS_INVALID", detail=problem)
                for index, problem in problems.items()
            ],
            times=_times_message(times),
        )

    async def PredictInterests(
        self, request: pb.PredictInterestsRequest, context: Context
    ) -> pb.PredictInterestsResponse:
        """Return the interest distribution of a text."""
        problem = _problem(request.text)
        if problem is not None:
            raise InvalidArgument("TEXT_INVALID", f"text {problem}", field="text")
        num_interests = check_num_interests(request, 1, MAX_INTERESTS)
        with self._bundles.held.asked_for("") as models:
            async with call_timeout(context, self._settings.predict_interests_timeout_s):
                (encoded,), times = await models.texts.encode([request.text])
                probabilities = await models.interests(encoded.vector)
        if encoded.unknown_share > MAX_UNKNOWN_SHARE:
            share = f"{encoded.unknown_share:.0%}"
            message = f"text: the encoder does not know {share} of its tokens"
            raise InvalidArgument("TEXT_UNKNOWN", message, field="text")
        found = top_interests(probabilities, models.manifest.categories, num_interests)
        return pb.PredictInterestsResponse(
            interests=interest_messages(found),
            unknown_share=encoded.unknown_share,
            bundle_id=models.id,
            times=_times_message(times),
        )


_SKIPPED = (Vector(), 1.0)


def _answer(
    vector: NDArray[np.float32], encoded: EncodedText, bundle_id: str
) -> tuple[Vector, float]:
    return vector_to_proto(vector, bundle_id), encoded.unknown_share


def _times_message(times: TextTimes) -> pb.TextTimes:
    message = pb.TextTimes()
    for field, seconds in zip(
        (message.queue, message.tokenise, message.inference), times, strict=True
    ):
        field.FromNanoseconds(round(seconds * 1e9))
    return message


def _problem(text: str) -> str | None:
    """What is wrong with a text, as the rest of a sentence about it; None when it is right."""
    return "is blank" if text and not text.strip() else id_problem(text, MAX_TEXT_BYTES)
