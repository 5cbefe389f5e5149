"""What is shown beside numbers: tables and rasters in a notebook, and whom to cite."""
