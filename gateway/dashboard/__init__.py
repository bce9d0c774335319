"""The dashboard: pages rendered here, one style sheet, one small script; no build step, nothing from other servers."""
