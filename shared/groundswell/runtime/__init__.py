"""The work of every service around its calls: follow bundles and the catalogue, retry, serve."""
