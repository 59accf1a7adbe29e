"""Running, measuring and writing the tables of papers."""
