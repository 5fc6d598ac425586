"""Expressions of the language: text to a checked, typed tree."""
