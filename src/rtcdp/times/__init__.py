"""Times as producers write them and as outputs do; time zones and calendars."""
