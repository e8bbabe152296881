"""The bundle's ONNX file in fp32, by onnxruntime: what the other backends are compared with."""

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import Encoder
from groundswell.profile_service.worker.text_backends.backend import Machine, TextBackend


def _load(bundle: Bundle, machine: Machine) -> Encoder:
    return bundle.text_encoder(machine.threads)


BACKEND = TextBackend(_load)
