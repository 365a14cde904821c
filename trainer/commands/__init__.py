"""The console commands beside `trainer` itself, one file a command."""
