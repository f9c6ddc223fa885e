//! The suites live in `tests/`.
