"""What happened: reads the records of studies and shows them."""
