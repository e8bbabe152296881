"""An open-loop load: calls at growing rates, and the curve of what became of them."""
