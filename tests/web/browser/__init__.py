"""The page in a real browser: ``visits.py`` has what its tests share."""
