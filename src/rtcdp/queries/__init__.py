"""What people ask about profiles and populations from the command line."""
