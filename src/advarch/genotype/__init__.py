"""Cells as data: what they are made of, published ones, JSON and RobNet's text codes, density. No torch."""
