"""Hosts as an audience: enrolment, heartbeats and reports."""
