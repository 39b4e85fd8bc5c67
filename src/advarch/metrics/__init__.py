"""Measurements of networks: plain functions."""
