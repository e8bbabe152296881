"""What several kinds of tests use: real parts, started and ended by the tests."""
