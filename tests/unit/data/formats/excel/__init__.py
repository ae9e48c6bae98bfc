"""Tests of ``data/formats/excel``."""
