"""The page of an evaluation: tables and pictures."""
