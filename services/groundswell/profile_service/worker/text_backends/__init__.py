"""The ways to run a bundle's text encoder, one file for each, and the choice of one."""
