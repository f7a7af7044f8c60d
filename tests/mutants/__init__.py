"""Planted bugs: each is a mistake a person could make, and names the law that must catch it."""
