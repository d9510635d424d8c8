"""Pictures and tables, whatever they show."""
