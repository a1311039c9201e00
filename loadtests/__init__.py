"""Measurements of the running thing; `README.md` beside this says what and how."""
