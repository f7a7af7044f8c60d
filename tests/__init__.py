"""Tests as laws: a test's name is what must hold."""
