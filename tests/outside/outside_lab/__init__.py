"""The networks and data of a laboratory that uses rc_snn."""
