"""The checks a reader may hold us to; `make trust` runs them at their full counts."""
