# Generated from aio/__init__.py by `make client`: change that file.
"""The client for code without an event loop."""
