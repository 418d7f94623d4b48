"""Where arms come from. torch is imported below this package only, in a process of its own."""
