"""What tests are made with, and none of them is in: clients, launchers, servers, parsers."""
