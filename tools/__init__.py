"""What is run by hand, or by tox, and is no part of SFS."""
