"""Loads the text encoders of a worker, as its settings say."""

from groundswell.artifacts.bundle import Bundle
from groundswell.artifacts.text_cache import Encoder, TextCache
from groundswell.profile_service.settings import ProfileSettings, WorkerSettings
from groundswell.profile_service.worker.text_backends.backend import Machine, TextEncoders
from groundswell.profile_service.worker.text_backends.choice import (
    AUTO,
    load_encoders,
    missing_package,
)
from groundswell.profile_service.worker.text_backends.torch_encoder import device_problem
from groundswell.serving.server import StartError
from groundswell.serving.settings import PREFIX


def onnx_encoders(bundle: Bundle, settings: ProfileSettings) -> TextEncoders:
    """Return the encoders of a worker inside the service."""
    encoder = bundle.text_encoder(settings.worker_threads)
    return _with_known_texts((encoder, encoder), bundle, settings)


def chosen_encoders(bundle: Bundle, settings: WorkerSettings) -> TextEncoders:
    """Return the encoders of a worker of its own."""
    machine = Machine(settings.device, settings.worker_threads)
    encoders = load_encoders(bundle, settings.encoder_backend, machine, settings.encoder_cache)
    return _with_known_texts(encoders, bundle, settings)


def _with_known_texts(
    encoders: tuple[Encoder, Encoder], bundle: Bundle, settings: ProfileSettings
) -> TextEncoders:
    """Take the vectors that training made, so that these texts are not encoded again."""
    folder = settings.text_vectors
    if folder is None:
        return TextEncoders(*encoders)
    fingerprint = bundle.manifest.text.fingerprint
    known = {one: TextCache(folder, one, fingerprint, keep=False) for one in {*encoders}}
    return TextEncoders(*(known[one] for one in encoders))


def check_backend(settings: WorkerSettings) -> None:
    """Raise StartError when the text encoder cannot run as it should: before anything is opened."""
    device, backend = settings.device, settings.encoder_backend
    if device != "cpu":
        named, needed, otherwise = f"DEVICE: {device}", "torch", "cpu"
    elif backend != AUTO:
        named, needed, otherwise = f"ENCODER_BACKEND: {backend}", backend, AUTO
    else:
        return
    missing = missing_package(needed)
    if missing is not None:
        install = f"needs the package {missing}; run: pip install 'groundswell[worker]'"
        message = f"{PREFIX}{named} {install}, or use {otherwise}"
        raise StartError(
            "BACKEND_UNAVAILABLE" if device == "cpu" else "DEVICE_UNAVAILABLE", message
        )
    problem = device_problem(device)
    if problem is not None:
        raise StartError("DEVICE_UNAVAILABLE", f"{PREFIX}DEVICE: {problem}; or use cpu")
