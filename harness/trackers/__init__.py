"""What an experiment tracker is told about an attempt, from outside verl."""
