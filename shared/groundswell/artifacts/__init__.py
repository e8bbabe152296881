"""The on-disk contract between the trainer and the servers: bundles, and what reads them."""
