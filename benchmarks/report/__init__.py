"""How results are shown: tables, numbers, figures."""
