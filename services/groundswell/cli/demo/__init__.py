"""The demo: the main job on public data from end to end, as a check and a show."""
