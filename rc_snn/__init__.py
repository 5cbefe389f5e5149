"""Rank coding: recurrent networks that answer at the first threshold crossing."""

__version__ = "0.1.0"
