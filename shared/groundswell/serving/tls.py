"""The certificate of a server, read again for new connections when its files change."""

from typing import Any

import grpc

from groundswell.client.files import Reloaded, read_authorities, read_pair
from groundswell.serving.door_settings import DoorSettings


def server_credentials(settings: DoorSettings) -> grpc.ServerCredentials | None:
    """What the server's port is opened with; None without a certificate.

    Raises OSError, and ValueError for files that are no certificate with its key.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return None
    authorities = settings.tls_client_ca

    def read() -> grpc.ServerCertificateConfiguration:
        chain, private = read_pair(certificate, key)
        clients = None if authorities is None else read_authorities(authorities)
        return grpc.ssl_server_certificate_configuration([(private, chain)], clients)

    files = [certificate, key] if authorities is None else [certificate, key, authorities]
    newest = Reloaded(files, read)
    used = newest()

    def changed() -> Any:
        nonlocal used
        before, used = used, newest()
        return None if used is before else used

    # gRPC asks at every handshake, in threads of its own; None: as before.
    return grpc.dynamic_ssl_server_credentials(
        used, changed, require_client_authentication=authorities is not None
    )
