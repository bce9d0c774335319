"""Webhooks: events as signed POSTs to addresses that people registered. Runs in the control process."""
