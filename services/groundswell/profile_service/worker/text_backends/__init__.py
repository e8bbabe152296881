"""The ways to run a bundle's text encoder, and the choice of one: another way is one more file."""
