"""How often a release is judged wrongly: healthy and crash-looping ones, in an untidy world."""
