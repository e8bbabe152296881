"""The trainer's own errors."""


class DataError(Exception):
    """The data cannot be used as it is; the message names the file, column or option to mend."""


class TrainError(Exception):
    """Training cannot go on; the message says where it stopped."""


class ExportError(Exception):
    """An exported model does not say what the trained one says; nothing may be published."""
