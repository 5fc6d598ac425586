"""What is done with a whole deployment while no worker runs: backup, restore, rebuild."""
