"""Distillation: answer as a teacher does."""
