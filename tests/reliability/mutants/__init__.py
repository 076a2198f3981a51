"""Named defects that can be put back by a switch, to show that the tests notice them."""
