"""The numbers as text and as a page. Measures nothing."""
