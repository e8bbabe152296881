"""What a bundle's exported models make of the users' histories before given events."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from groundswell.artifacts.bundle import Bundle
from groundswell.trainer.data import Prepared
from groundswell.trainer.errors import DataError
from groundswell.trainer.evaluation.candidates import EncodeTexts
from groundswell.trainer.evaluation.ranks import Views
from groundswell.trainer.inputs import Histories, cut_chunks, gate_inputs, windows_before


class BundleViews:
    """Runs the session model and the profile head on the inputs that the servers give them.

    `item_vectors` [N, d] are those of the prepared items. Raises DataError when the bundle reads
    times and the log has none.
    """

    def __init__(
        self,
        bundle: Bundle,
        prepared: Prepared,
        item_vectors: NDArray[np.float32],
        encode: EncodeTexts,
    ) -> None:
        manifest = bundle.manifest
        if manifest.use_time and prepared.order_only:
            raise DataError(
                f"the bundle {bundle.id} reads times, and those of {prepared.folder} are "
                "only positions"
            )
        # A bundle of an order-only log makes no feature of time, here as in production.
        self._prepared = replace(prepared, order_only=not manifest.use_time)
        self._session = bundle.session_model()
        self._profile = bundle.profile_head()
        self._window_length = manifest.window_length
        self._item_vectors = item_vectors
        chunks = cut_chunks(prepared, manifest.chunk_length)
        self._histories = Histories(
            self._prepared,
            chunks,
            encode(chunks.texts),
            encode(prepared.texts),
            manifest.max_chunks,
        )

    def before(self, events: NDArray[np.int64]) -> Views:
        """Return the views before each event, [B] positions in [0, E), of its user."""
        window = windows_before(self._prepared, events, self._window_length)
        short = self._session.run(
            item_vectors=self._item_vectors[window.rows],
            actions=window.actions,
            gaps=window.gaps,
            starts=window.starts,
            lengths=window.lengths,
        )
        long = self._profile.run(**self._histories.before(events)._asdict())
        gate_features = gate_inputs(self._prepared, events, self._window_length)
        return Views(short, long, gate_features)
