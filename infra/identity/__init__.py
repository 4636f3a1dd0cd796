"""What a function may do, as it tests itself: a tester can test only its own identity."""
