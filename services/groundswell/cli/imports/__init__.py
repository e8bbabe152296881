"""Writes files into running services: catalogues and logs, and deletes items."""
