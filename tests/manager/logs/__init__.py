"""Tests of manager/logs."""
