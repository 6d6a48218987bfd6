"""Naive second implementations, written from the description alone, to compare with."""
