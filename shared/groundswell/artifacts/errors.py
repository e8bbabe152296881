"""The one error of this package."""


class BundleError(Exception):
    """A bundle, or the folder of bundles, is not what it must be.

    `reason` is stable and UPPER_SNAKE: BUNDLE_MISSING, BUNDLE_CORRUPT, BUNDLE_FORMAT, NO_CURRENT,
    CURRENT_INVALID, and of the ranker BUNDLE_WITHDRAWN.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
