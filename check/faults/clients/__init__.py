"""The clients of the cell under test, in processes of their own."""
