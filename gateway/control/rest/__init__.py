"""REST by the public management specification: same paths, fields and statuses. One noun a file."""
