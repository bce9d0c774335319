"""`python -m ops.cli`: what the `causeway` command runs."""

from ops.cli import main

main()
