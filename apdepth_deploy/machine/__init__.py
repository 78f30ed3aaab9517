"""What this machine has: cores, GPUs, engines' libraries and their habits."""
