"""The error of a file that cannot be used."""


class DataError(Exception):
    """The data cannot be used as it is; the message names the file, column or option to correct."""
