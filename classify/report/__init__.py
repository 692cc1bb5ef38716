"""A study's folder, told in tables, figures and words."""
