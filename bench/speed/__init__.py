"""Speed, with accuracy stored beside time; run by `make bench`, never part of the wheel."""
