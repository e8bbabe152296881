"""The console: pages about users, items, services and bundles, for people who look."""
