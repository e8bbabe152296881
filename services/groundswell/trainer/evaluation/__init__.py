"""How good a bundle is on events that no training saw."""
