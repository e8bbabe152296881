"""Says over gRPC which bundles the session service holds."""

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.artifacts.manifest import Manifest
from groundswell.common.v1.model_service_pb2 import GetModelRequest, GetModelResponse, ModelInfo
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceServicer
from groundswell.session_service.bundles import LoadedBundles


class ModelServicer(ModelServiceServicer):
    """Serves ModelService."""

    def __init__(self, bundles: LoadedBundles) -> None:
        self._bundles = bundles

    async def GetModel(
        self,
        request: GetModelRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.aio.ServicerContext[GetModelRequest, GetModelResponse],  # noqa: ARG002
    ) -> GetModelResponse:
        """Describe the served bundle and name the loaded ones."""
        served = self._bundles.get("")
        return GetModelResponse(
            model=_model_info(served.id, served.manifest),
            loaded_bundle_ids=[bundle.id for bundle in self._bundles.loaded()],
        )


def _model_info(bundle_id: str, manifest: Manifest) -> ModelInfo:
    created_at = Timestamp()
    created_at.FromDatetime(manifest.created_at)
    return ModelInfo(
        bundle_id=bundle_id,
        dimension=manifest.dimension,
        categories=manifest.categories,
        encoder_fingerprint=manifest.text.fingerprint,
        created_at=created_at,
        window_length=manifest.window_length,
        chunk_length=manifest.chunk_length,
        metrics=manifest.metrics,
    )
