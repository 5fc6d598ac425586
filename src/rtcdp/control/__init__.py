"""What people tell running workers: definitions on their way into force, commands, and the audit log of it."""
