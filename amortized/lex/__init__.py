"""LEX: selection as statistical inference (Senetaire, Garreau, Frellsen and Mattei, 2023)."""
