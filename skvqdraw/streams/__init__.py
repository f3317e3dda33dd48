"""Codes as bytes: the container, symbols as bits or by a range coder, tables of priors."""
