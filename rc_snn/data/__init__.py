"""Data sets in the forms of the field: read, packed, with their labels."""
