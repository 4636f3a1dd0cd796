"""One module per kind of resource, all of one shape: `desired`, `drift`, `update`. Pure."""
