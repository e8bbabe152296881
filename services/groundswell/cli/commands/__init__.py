"""The commands of `groundswell`, by theme: what each takes, and which function does it."""
