"""The process `rtcdp project`: keeps the serving view in Redis in step with the log."""
