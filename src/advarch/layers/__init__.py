"""Small torch parts that networks are built from."""
