"""How the tables of papers are run, measured and written down."""
