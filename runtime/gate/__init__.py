"""HTTP for people who may mean no good: who may ask, how much, and for how long. Knows no depth."""
