"""First looks: programs for `rc_snn.files.first_look`, which read a file before we do.

Each has `look(path, ...)`, imports no more than it needs, and is run by a child process with
limits on time and memory. Nothing here is imported by the package.
"""
