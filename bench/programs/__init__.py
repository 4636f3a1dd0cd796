"""Programs that measurements start as processes."""
