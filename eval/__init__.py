"""Evaluation: engines, runner, scorers, statistics, records and reports."""
