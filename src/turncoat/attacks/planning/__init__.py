"""Adversaries that look ahead: they try what they might send on the rounds to come before they send anything."""
