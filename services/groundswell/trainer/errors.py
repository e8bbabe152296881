"""The trainer's own errors."""

from groundswell.logs.errors import DataError as DataError


class TrainError(Exception):
    """Training cannot go on; the message says where it stopped."""


class ExportError(Exception):
    """An exported model differs from the trained one; nothing may be published."""
